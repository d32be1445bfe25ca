"""Assets, suites and revisions found by name, and put on one page."""

import shutil
import subprocess
from pathlib import Path

import pytest

from dreamfusion_kit.errors import SuiteError
from dreamfusion_kit.suites.compare import Target, parse

from .conftest import KIT, SUITE, Workspace, make_workspace

MESH = 'type="application/octet-stream"'


def _git(path: Path, *command: str) -> None:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    subprocess.run(["git", *identity, *command], cwd=path, check=True)


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_workspace(tmp_path_factory.mktemp("named") / "w", {"ball": "a red ball"})
    _git(made.path, "init", "-q")
    _git(made.path, "add", "-A")
    _git(made.path, "commit", "-qm", "one")
    _git(made.path, "branch", "other/branch")
    return made.path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ball", (None, SUITE, "ball")),
        ("default/mug", (None, "default", "mug")),
        ("default", (None, "default", None)),
        ("HEAD", ("HEAD", SUITE, None)),
        ("other/branch", ("other/branch", SUITE, None)),
        ("HEAD:ball", ("HEAD", SUITE, "ball")),
        ("HEAD:gone", ("HEAD", SUITE, "gone")),
        ("HEAD:", ("HEAD", SUITE, None)),
        ("HEAD:default", ("HEAD", "default", None)),
        ("other/branch:default/mug", ("other/branch", "default", "mug")),
    ],
)
def test_a_side_is_named(named: Path, text: str, expected: tuple[str | None, ...]) -> None:
    assert parse(named, SUITE, text) == Target(text, *expected)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["nobody", "default/nobody", "nobody/mug", "v9:ball", "--x"])
def test_a_name_that_means_nothing_is_refused_in_one_line(named: Path, text: str) -> None:
    with pytest.raises(SuiteError, match=r"found no (such asset|revision)") as refused:
        parse(named, SUITE, text)
    assert "\n" not in str(refused.value)


@pytest.mark.pipeline
def test_an_asset_then_and_now(serial: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "workspace"
    shutil.copytree(serial.path, path, symlinks=True)
    workspace = Workspace(path)
    if not (path / ".git").exists():
        _git(path, "init", "-q")
    _git(path, "add", "-A")
    _git(path, "commit", "-q", "--allow-empty", "-m", "made")
    _git(path, "tag", "then")
    asset = path / "suites" / SUITE / "assets" / "ball" / "asset.yaml"
    asset.write_text(asset.read_text().replace("seed: 0", "seed: 1"))
    done = workspace.call(KIT, "compare", "ball", "--against", "then", "--suite", SUITE)
    assert done.returncode == 0, done.stderr
    page = (path / "comparison.html").read_text()
    assert page.count(MESH) == 1, "the one of then, from the cache"
    assert "made from other inputs" in page
    assert '<span class="removed">-seed: 0</span>' in page
    done = workspace.call(KIT, "compare", "then", "then", "--suite", SUITE, "--page", "same.html")
    assert done.returncode == 0, done.stderr
    page = (path / "same.html").read_text()
    assert page.count(MESH) == 4
    assert page.count("Both meshes are the same file.") == 2
    assert "Means of 2 pairs" in page
    done = workspace.call(KIT, "compare", "ball", "default", "--suite", SUITE)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
