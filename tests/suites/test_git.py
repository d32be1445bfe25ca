"""Git's answers about a real repository."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from dreamfusion_kit.errors import SuiteError
from dreamfusion_kit.suites import git


def _git(repository: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    done = subprocess.run(
        ["git", "-C", str(repository), *identity, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a repository whose folder `workspace` changed in three commits."""
    top = tmp_path_factory.mktemp("repository")
    _git(top, "init", "-q", "-b", "main")
    lock = top / "workspace" / "dvc.lock"
    lock.parent.mkdir()
    for text in ("md5: aaa\n", "md5: aaa\nmd5: bbb\n", "md5: aaa\nmd5: bbb\nmd5: ccc\n"):
        lock.write_text(text)
        _git(top, "add", "-A")
        _git(top, "commit", "-q", "-m", text.splitlines()[-1])
    return top


def test_a_revision_is_a_commit_or_nothing(repository: Path) -> None:
    head = _git(repository, "rev-parse", "HEAD")
    assert git.commit_of(repository, "HEAD") == head
    assert git.commit_of(repository, "main") == head
    assert git.commit_of(repository / "workspace", head[:10]) == head
    assert git.commit_of(repository, "absent") is None
    assert git.commit_of(repository, "HEAD:workspace") is None  # a tree


@pytest.mark.parametrize("revision", ["--help", "-S", "HEAD\n--exec=true", "", "$(touch x)"])
def test_a_revision_is_never_an_option(repository: Path, revision: str) -> None:
    assert git.commit_of(repository, revision) is None


def test_the_first_commit_with_a_text_is_the_one_that_brought_it(repository: Path) -> None:
    workspace, lock = repository / "workspace", Path("dvc.lock")
    assert git.first_with(workspace, "bbb", lock) == _git(repository, "rev-parse", "HEAD~1")
    assert git.first_with(workspace, "aaa", lock) == _git(repository, "rev-parse", "HEAD~2")
    assert git.first_with(workspace, "ddd", lock) is None


def test_a_repository_without_commits_has_no_first(tmp_path: Path) -> None:
    _git(tmp_path, "init", "-q")
    assert git.commit_of(tmp_path, "HEAD") is None
    assert git.first_with(tmp_path, "aaa", Path("dvc.lock")) is None


def test_a_clone_holds_the_workspace_as_it_was(repository: Path, tmp_path: Path) -> None:
    old = _git(repository, "rev-parse", "HEAD~1")
    workspace = git.clone(repository / "workspace", old, tmp_path / "clone")
    assert workspace == tmp_path / "clone" / "workspace"
    assert (workspace / "dvc.lock").read_text() == "md5: aaa\nmd5: bbb\n"
    assert git.commit_of(workspace, "HEAD") == old


def test_a_failure_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"^git rev-parse: failed \(.*\); expected a workspace"):
        git.output(tmp_path, "rev-parse", "--show-toplevel")


def test_a_machine_without_git_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SuiteError, match="expected Git to be installed"):
        git.output(tmp_path, "status")


def test_a_folder_whose_name_is_no_text_is_cloned(repository: Path, tmp_path: Path) -> None:
    top = tmp_path / os.fsdecode(b"caf\xe9")
    shutil.copytree(repository, top)
    clone = git.clone(top / "workspace", "HEAD", tmp_path / "clone")
    assert (clone / "dvc.lock").is_file()
