"""One run per scratch, and no run that outlives the one that started it (Linux)."""

import ctypes
import fcntl
import os
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from dreamfusion_kit.errors import CheckpointError

_PR_SET_PDEATHSIG = 1


@contextmanager
def hold(path: Path) -> Generator[None, None, None]:
    """Hold the lock file at `path`, or raise CheckpointError naming the process that does.

    The kernel drops the lock with the process, however that ends: a killed run leaves
    nothing to clean up.
    """
    descriptor = _lock(path)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent ends.

    A killed `dvc repro` leaves its stage running, and a second one would start beside it.
    Does nothing where there is no such call (macOS); the lock then speaks up.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # The parent ended before the kernel was told to watch it.
        os.kill(os.getpid(), signal.SIGKILL)


def _lock(path: Path) -> int:
    """Return an open, locked descriptor of the file that `path` names now."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode() or "unknown"
            os.close(descriptor)
            raise CheckpointError(
                f"{path.parent.name}: process {holder} is running on the same inputs; expected "
                "one run at a time; wait for it, or end it"
            ) from error
        if _is_still(path, descriptor):
            return descriptor
        os.close(descriptor)  # The holder before us removed the file with its scratch.


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        named = path.stat()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return False
    return os.path.samestat(named, os.fstat(descriptor))
