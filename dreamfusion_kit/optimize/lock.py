"""One run per scratch."""

import fcntl
import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from dreamfusion_kit.errors import CheckpointError
from dreamfusion_kit.supervision import Holder

_MAX_HOLDER_BYTES = 4096
_GRACE_S = 10.0


@contextmanager
def hold(path: Path) -> Generator[None, None, None]:
    """Hold the lock file at `path`, or raise CheckpointError naming the process that does.

    The kernel releases the lock with the process, however it ends: a killed run leaves
    nothing to clean up. A holder that runs a stage for a DVC that is gone is killed, and its
    lock is taken over.
    """
    descriptor = _lock(path)
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, Holder.this_process().to_text().encode(), 0)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def hold_if_free(path: Path) -> Generator[bool, None, None]:
    """Hold the lock file at `path` unless another process does; yield whether it is held here.

    A missing file counts as free.
    """
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        yield True
        return
    try:
        yield _try(descriptor)
    finally:
        os.close(descriptor)


def _lock(path: Path) -> int:
    """Return an open, locked descriptor of the file that `path` names now."""
    deadline = time.monotonic() + _GRACE_S
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if _try(descriptor):
            if _is_still(path, descriptor):
                return descriptor
            os.close(descriptor)  # The holder before us removed the file with its scratch.
            continue
        try:
            held_by = _holder(path, descriptor)
        finally:
            os.close(descriptor)
        if not _takes_over(held_by) or time.monotonic() > deadline:
            raise _refused(path, str(held_by.pid))
        time.sleep(0.05)


def _takes_over(held_by: Holder) -> bool:
    """Return whether the lock will be free soon: its holder is dead, or an orphan, now ended."""
    if held_by.is_orphan():
        print(
            f"process {held_by.pid}: ends here; it ran {held_by.stage} for a DVC that is gone",
            file=sys.stderr,
            flush=True,
        )
        return held_by.end()
    # Children of a dead holder keep the lock until they end too.
    return held_by.started is not None and not held_by.is_running()


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(path: Path, descriptor: int) -> Holder:
    """Return the file's holder, which takes the lock a moment before it writes its name."""
    for _ in range(20):
        text = os.pread(descriptor, _MAX_HOLDER_BYTES, 0).decode(errors="replace")
        if found := Holder.read(text):
            return found
        time.sleep(0.01)
    raise _refused(path, "unknown")


def _refused(path: Path, pid: str) -> CheckpointError:
    return CheckpointError(
        f"{path.parent.name}: process {pid} is running on the same inputs; expected "
        "one run at a time; wait for it, or end it"
    )


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        named = path.stat()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return False
    return os.path.samestat(named, os.fstat(descriptor))
