"""Assets, suites and revisions found by name, and put on one page."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from dreamfusion_kit.errors import SuiteError
from dreamfusion_kit.suites.compare import Target, parse
from dreamfusion_kit.workspace import edit

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


@pytest.fixture
def committed(serial: Workspace, tmp_path: Path) -> Workspace:
    """Return a copy of the made suite, committed as `then`."""
    path = tmp_path / "workspace"
    shutil.copytree(serial.path, path, symlinks=True)
    if not (path / ".git").exists():
        _git(path, "init", "-q")
    _git(path, "add", "-A")
    _git(path, "commit", "-q", "--allow-empty", "-m", "made")
    _git(path, "tag", "then")
    return Workspace(path)


@pytest.mark.pipeline
def test_an_asset_then_and_now(committed: Workspace) -> None:
    workspace, path = committed, committed.path
    asset = path / "suites" / SUITE / "assets" / "ball" / "asset.yaml"
    asset.write_text(asset.read_text().replace("seed: 0", "seed: 1"))
    done = workspace.call(KIT, "compare", "ball", "--against", "then", "--suite", SUITE)
    assert done.returncode == 0, done.stderr
    page = (path / "comparison.html").read_text()
    assert page.count(MESH) == 1, "the one of then, from the cache"
    assert "made from other inputs" in page
    assert '<span class="removed">-seed: 0</span>' in page
    done = workspace.call(KIT, "compare", "ball", "default", "--suite", SUITE)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


@pytest.mark.pipeline
def test_a_suite_beside_another_and_beside_a_revision(committed: Workspace) -> None:
    """The other has one asset more, and one whose mesh and metrics differ."""
    suites = committed.path / "suites"
    shutil.copytree(suites / SUITE, suites / "other", symlinks=True)
    for name in ("suite.yaml", "dvc.yaml", f"metrics/{SUITE}.json"):
        path = suites / "other" / name
        path.write_text(path.read_text().replace(SUITE, "other"))
        path.rename(path.with_name(path.name.replace(SUITE, "other")))
    edit.add(committed.path, "other", "cube", prompt="a cube", recipe="analytic", seed=0)
    metrics = suites / "other" / "metrics" / "other.json"
    found = json.loads(metrics.read_text())
    found["assets"]["ball"]["clip_score"] = 0.0
    metrics.write_text(json.dumps(found))

    done = committed.call(KIT, "compare", SUITE, "other")
    assert done.returncode == 0, done.stderr
    page = (committed.path / "comparison.html").read_text()
    assert page.count(MESH) == 4
    assert "Means of 2 pairs" in page
    assert "Only in B: cube." in page

    done = committed.call(KIT, "compare", SUITE, "then", "--suite", SUITE, "--page", "same.html")
    assert done.returncode == 0, done.stderr
    page = (committed.path / "same.html").read_text()
    assert page.count(MESH) == 4
    assert page.count("Both meshes are the same file.") == 2
    assert "Means of 2 pairs" in page
    assert "tiny at then" in page
