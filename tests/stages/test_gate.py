"""The command as people and CI run it, on a small Git repository without outputs."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dreamfusion_kit.stages import gate

ROOT = Path(__file__).parents[2]
GATE_YAML = """\
gate:
  measured: two seeds of a made suite
  significance: 0.05
  power: 0.8
  confidence_level: 0.95
  num_flips: 65536
  seed: 0
  view_cosine_spread: 0.02
  metrics:
    r_precision.color: {better: higher, tolerance: 0.02, spread: 0.1, drop: 0.05}
"""
TOYS = "suite: toys\nseeds: null\noverrides: {}\nevaluation: null\n"

File = dict[str, Any]


def metrics_file(hits: str, judge: str = "toybox") -> File:
    """Return the metrics of eight assets with the same hits."""
    row = {
        "prompt": "a red mug",
        "recipe": "toybox",
        "identity": "ab" * 32,
        "seed": 0,
        "metrics": {"r_precision.color": hits.count("1") / len(hits)},
        "views": {"hit": hits, "cosine": [0.9] * len(hits)},
    }
    return {
        "format_version": 2,
        "suite": "default",
        "judge": {"name": judge},
        "caption_pool": {"kind": "toybox", "size": 144, "sha256": "74bc"},
        "code": {},
        "machine": None,
        "summary": {},
        "assets": {f"a{i}": row for i in range(8)},
    }


GOOD, BAD = metrics_file("11111111"), metrics_file("11111000")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a workspace whose one commit holds good metrics."""
    (tmp_path / "params.yaml").write_text(GATE_YAML)
    (tmp_path / "suites" / "toys").mkdir(parents=True)
    (tmp_path / "suites" / "toys" / "suite.yaml").write_text(TOYS)
    write(tmp_path, GOOD)
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
    write(repository, BAD)
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
        (["--against", "HEAD", "--suite", "games"], "suites/games/suite.yaml: no such suite"),
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
    write(repository, metrics_file("11111111", judge="another"))
    done = command(repository, "--against", "HEAD")
    assert done.returncode == 2
    assert done.stderr.startswith("judge: found")


def test_pictures_are_named_where_they_are(repository: Path) -> None:
    views = repository / "out" / "evaluation" / "a0" / "views"
    views.mkdir(parents=True)
    write(repository, BAD)
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
