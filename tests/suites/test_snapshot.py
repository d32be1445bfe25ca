"""The commit as one file, and clones of it."""

import fcntl
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from dreamfusion_kit.errors import SuiteError
from dreamfusion_kit.suites import snapshot

from .conftest import SUITE, Workspace, commit, make_workspace, share


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Return a workspace with a remote, committed; clones go into a folder of the test's."""
    made = make_workspace(tmp_path / "workspace", {"ball": "a red ball"})
    share(made, "s3://bucket/dvc")
    (tmp_path / "clones").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "clones"))
    return made


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_a_clone_is_the_commit_and_goes_away(shared: Workspace) -> None:
    taken = snapshot.take(shared.path, SUITE)
    with snapshot.Clone(taken) as clone:
        assert _git(clone, "rev-parse", "HEAD") == _git(shared.path, "rev-parse", "HEAD")
        assert _git(clone, "status", "--porcelain") == ""
        asset = f"suites/{SUITE}/assets/ball/asset.yaml"
        assert (clone / asset).read_bytes() == (shared.path / asset).read_bytes()
    assert not clone.exists()


def test_history_stays_at_home(shared: Workspace) -> None:
    (shared.path / "recipes" / "large.txt").write_text("x")
    commit(shared)
    (shared.path / "recipes" / "large.txt").unlink()
    commit(shared)
    with snapshot.Clone(snapshot.take(shared.path, SUITE)) as clone:
        assert _git(clone, "rev-list", "--count", "HEAD") == "1"


def test_a_workspace_may_be_a_folder_of_its_repository(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    made = make_workspace(tmp_path / "deep" / "workspace", {"ball": "a red ball"})
    share(made, str(tmp_path / "remote"))
    with snapshot.Clone(snapshot.take(made.path, SUITE)) as clone:
        assert clone.parts[-2:] == ("deep", "workspace")
        assert (clone / "params.yaml").read_bytes() == (made.path / "params.yaml").read_bytes()


@pytest.mark.parametrize(
    "name", ["params.yaml", "recipes/new.yaml", f"suites/{SUITE}/assets/ball/asset.yaml"]
)
def test_what_a_stage_reads_has_to_be_committed(shared: Workspace, name: str) -> None:
    with (shared.path / name).open("a") as file:
        file.write("# changed\n")
    with pytest.raises(SuiteError, match=rf"^{name}: differs from the commit"):
        snapshot.take(shared.path, SUITE)


@pytest.mark.parametrize(
    "name", ["notes.txt", f"suites/{SUITE}/dvc.lock", f"suites/{SUITE}/metrics/{SUITE}.json"]
)
def test_nothing_else_has_to(shared: Workspace, name: str) -> None:
    (shared.path / name).parent.mkdir(exist_ok=True)
    (shared.path / name).write_text("{}")
    snapshot.take(shared.path, SUITE)


@pytest.mark.parametrize(
    ("url", "problem"), [("", "no default remote"), ("../elsewhere", "found the relative path")]
)
def test_a_remote_has_to_be_within_reach(tmp_path: Path, url: str, problem: str) -> None:
    made = make_workspace(tmp_path / "workspace", {"ball": "a red ball"})
    if url:
        share(made, url)
    commit(made)
    with pytest.raises(SuiteError, match=problem):
        snapshot.take(made.path, SUITE)


def test_clones_of_killed_processes_are_removed(shared: Workspace) -> None:
    folder = Path(tempfile.gettempdir())
    abandoned, in_use = (folder / f"dreamfusion-kit-clone-{name}" for name in ("a", "b"))
    for path in (abandoned, in_use):
        (path / "clone").mkdir(parents=True)
    descriptor = os.open(in_use, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        with snapshot.Clone(snapshot.take(shared.path, SUITE)):
            assert not abandoned.exists()
            assert in_use.exists()
    finally:
        os.close(descriptor)


def test_where_models_lie_travels_beside_the_commit(shared: Workspace) -> None:
    (shared.path / "models.local.yaml").write_text("models: {store: /somewhere}\n")
    with snapshot.Clone(snapshot.take(shared.path, SUITE)) as clone:
        assert (clone / "models.local.yaml").read_text() == "models: {store: /somewhere}\n"
