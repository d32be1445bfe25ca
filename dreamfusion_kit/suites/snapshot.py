"""The workspace's commit as one file, and the clone that another machine makes of it.

The file is a Git repository that holds this commit alone, so no node needs to reach, or may read,
the place where the workspace's repository is kept.
"""

import configparser
import fcntl
import io
import os
import re
import shutil
import tarfile
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from dreamfusion_kit import files
from dreamfusion_kit.errors import SuiteError
from dreamfusion_kit.recipe import local_models
from dreamfusion_kit.recipe.evaluation import FilePoolSection
from dreamfusion_kit.recipe.suite import load_protocol
from dreamfusion_kit.recipe.workspace import suite_root
from dreamfusion_kit.suites import git

_PREFIX = "dreamfusion-kit-clone-"
# What a stage reads: a file that differs from the commit would not be in the clone.
_WHAT_MATTERS = ("params.yaml", "dvc.yaml", "kit.json", "recipes", "protocols", ".dvc", "cli.py")
_PACKAGE = "dreamfusion_kit"
# What runs of suites write: entries of locks travel beside the commit.
_WHAT_DOES_NOT = (":(exclude,glob)**/dvc.lock", ":(exclude,glob)**/metrics/**")


@dataclass(frozen=True)
class Snapshot:
    """A commit.

    `folder` is the workspace's place in the repository, empty if it is the root. `models` is
    the workspace's models.local.yaml, which Git ignores: its folders have to be there on every
    node.
    """

    commit: str
    folder: str
    repository: bytes
    models: bytes | None


def take(workspace: Path, suite: str) -> Snapshot:
    """Return the workspace's commit, which has to be what the workspace holds.

    Raises:
        SuiteError: if something that a stage reads is not committed, there is no repository, or
            the committed configuration has no remote that another machine can reach.
    """
    commit = git.output(workspace, "rev-parse", "--verify", "HEAD^{commit}")
    _refuse_uncommitted(workspace, suite)
    _refuse_without_remote(suite_root(workspace, suite) / ".dvc" / "config")
    top = git.output(workspace, "rev-parse", "--show-toplevel")
    with tempfile.TemporaryDirectory() as temporary:
        copy = Path(temporary) / "copy.git"
        source = Path(top).as_uri()
        git.output(workspace, "clone", "--quiet", "--bare", "--depth", "1", source, str(copy))
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            archive.add(copy, ".git")
    folder = git.output(workspace, "rev-parse", "--show-prefix")
    models = workspace / local_models.FILE
    return Snapshot(
        commit, folder, buffer.getvalue(), models.read_bytes() if models.is_file() else None
    )


def _refuse_uncommitted(workspace: Path, suite: str) -> None:
    paths = [*_WHAT_MATTERS, _PACKAGE]
    if suite_root(workspace, suite) != workspace:
        paths.append(suite_root(Path(), suite).as_posix())
    pool = load_protocol(workspace, suite).caption_pool
    if isinstance(pool, FilePoolSection):
        paths.append(pool.path)
    status = git.output(
        workspace, "status", "--porcelain", "--untracked-files=all", "--", *paths, *_WHAT_DOES_NOT
    )
    changed = [line[2:].strip().strip('"') for line in status.splitlines()]
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise SuiteError(
            f"{changed[0]}{more}: differs from the commit, expected what workers in clones would "
            "find; commit it"
        )


def _refuse_without_remote(path: Path) -> None:
    """Refuse a suite whose outputs could not be handed over."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(path, encoding="utf-8")
    name = config.get("core", "remote", fallback="")
    url = config.get(f"'remote \"{name}\"'", "url", fallback="")
    advice = "add one with `dvc remote add -d NAME URL`, run `dreamfusion-kit upgrade`, and commit"
    if not url:
        raise SuiteError(
            f"{path}: no default remote, expected one through which outputs are handed over; "
            f"{advice}"
        )
    if not (re.match(r"\w+://", url) or Path(url).is_absolute()):
        raise SuiteError(
            f"{path}: remote {name}: found the relative path {url}, expected one that is the same "
            f"on every node; {advice}"
        )


class Clone:
    """A clone of a snapshot in a temporary folder, removed on exit.

    Use it as a context manager, which gives the workspace's folder in the clone. Clones of
    processes that were killed are removed by the next one on that machine.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        """Prepare to clone `snapshot`."""
        self._snapshot = snapshot

    def __enter__(self) -> Path:
        """Make the clone."""
        _remove_abandoned()
        self._folder, self._lock = _claim()
        clone = self._folder / "clone"
        with tarfile.open(fileobj=io.BytesIO(self._snapshot.repository)) as archive:
            archive.extractall(clone, filter="data")
        git.output(clone, "config", "core.bare", "false")
        git.output(clone, "checkout", "--quiet", "--detach", self._snapshot.commit)
        workspace = clone / self._snapshot.folder
        if self._snapshot.models is not None:
            files.write_bytes(workspace / local_models.FILE, self._snapshot.models)
        return workspace

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove it."""
        shutil.rmtree(self._folder, ignore_errors=True)
        os.close(self._lock)


def holds_the_kit(workspace: Path) -> bool:
    """Return whether a workspace brings the kit's own code."""
    return (workspace / _PACKAGE / "__init__.py").is_file()


def _claim() -> tuple[Path, int]:
    """Return a new folder with its locked descriptor."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        try:
            descriptor = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue  # Another process considered it abandoned before it was locked.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if folder.exists():
            return folder, descriptor
        os.close(descriptor)


def _remove_abandoned() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # another user's, or removed meanwhile
            if folder.lstat().st_uid != os.getuid():
                continue
            descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)
