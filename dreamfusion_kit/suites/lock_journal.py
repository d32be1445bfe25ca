"""What stands in dvc.lock files while DVC rewrites them, so that half a file can be undone.

DVC does not write a lock at once: one that is killed, or finds the disk full, leaves a part of it.
So the files are copied before a commit, and the copy is forgotten by the commit itself, as its last
act. A copy that is found later is of a commit that did not end well, and is put back.
"""

import fcntl
import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from dreamfusion_kit import files


class LockJournal:
    """The copies of one suite's locks, in the workspace's scratch."""

    def __init__(self, workspace: Path, suite: str) -> None:
        """Keep copies for `suite`."""
        self._workspace = workspace
        self._held = workspace / ".work" / f"locks-{suite}.held"
        self.path = workspace / ".work" / f"locks-{suite}.json"

    @contextmanager
    def kept(self, locks: Iterable[Path]) -> Generator[int, None, None]:
        """Keep copies of `locks` during a commit, and put them back if it fails.

        Yields a descriptor that the committing program inherits: `recover` waits until it ends.
        """
        with self._hold() as descriptor:
            names = {lock.relative_to(self._workspace).as_posix(): _read(lock) for lock in locks}
            files.write_json(self.path, names)
            try:
                yield descriptor
            except BaseException:
                self._put_back()
                raise
            self.path.unlink(missing_ok=True)

    def recover(self) -> list[Path]:
        """Put back what a commit that was killed left half written; return these files."""
        if not self._held.exists():
            return []
        with self._hold():
            return self._put_back()

    @contextmanager
    def _hold(self) -> Generator[int, None, None]:
        self._held.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._held, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    def _put_back(self) -> list[Path]:
        if not self.path.exists():
            return []
        kept = files.read_json(self.path, dict[str, str | None], made_by="commit")
        restored: list[Path] = []
        for name, text in kept.items():
            path = self._workspace / name
            if _read(path) == text:
                continue
            restored.append(path)
            if text is None:
                path.unlink()
            else:
                files.write_text(path, text)
        self.path.unlink()
        return restored


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
