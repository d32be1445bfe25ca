"""The command as people and CI run it, on a small Git repository without outputs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dreamfusion_kit.stages import gate

from ..gate.conftest import GATE_YAML, File, asset_row, metrics_file

ROOT = Path(__file__).parents[2]
GOOD = {f"a{i}": asset_row("11111111") for i in range(8)}
BAD = {f"a{i}": asset_row("11111000") for i in range(8)}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a workspace whose one commit holds good metrics."""
    (tmp_path / "params.yaml").write_text(GATE_YAML)
    write(tmp_path, metrics_file(GOOD))
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "good"]):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True)
    return tmp_path


def write(folder: Path, content: File) -> None:
    (folder / "metrics").mkdir(exist_ok=True)
    (folder / "metrics" / "default.json").write_text(json.dumps(content))


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), "gate", *arguments],
        cwd=folder, capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip


def test_equal_metrics_pass(repository: Path) -> None:
    done = command(repository, "--against", "HEAD", "--markdown", "report.md")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("## Quality gate: passed")
    assert (repository / "report.md").read_text() == done.stdout


def test_a_fall_ends_with_status_1(repository: Path) -> None:
    write(repository, metrics_file(BAD))
    done = command(repository, "--against", "HEAD")
    assert done.returncode == 1
    assert done.stderr == "gate: refused: r_precision.color fell from 1.0000 to 0.6250\n"
    assert "**fell**" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--against", "nowhere"], "revision 'nowhere': not found"),
        (["--against", "none.json"], "none.json: No such file"),
        (["--against", "HEAD", "--suite", "toys"], "HEAD:suites/toys/metrics/toys.json: not in"),
    ],
)
def test_what_cannot_be_compared_ends_with_status_2(
    repository: Path, arguments: list[str], message: str
) -> None:
    done = command(repository, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


def test_another_judge_ends_with_status_2(repository: Path) -> None:
    write(repository, metrics_file(GOOD, judge={"name": "another"}))
    done = command(repository, "--against", "HEAD")
    assert done.returncode == 2
    assert done.stderr.startswith("judge: found")


def test_pictures_are_named_where_they_are(repository: Path) -> None:
    views = repository / "out" / "default" / "evaluation" / "a0" / "views"
    views.mkdir(parents=True)
    write(repository, metrics_file(BAD))
    outcome = gate.run(repository, "default", "HEAD", None)
    assert outcome.refused
    assert f"| `{views.as_posix()}` |" in outcome.report


def test_the_gate_never_loads_torch(repository: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from dreamfusion_kit.stages import gate;"
        "gate.run(Path(), 'default', 'HEAD', None); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=repository, capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout == "False\n"
