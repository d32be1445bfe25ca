"""Guards a run of a suite: one at a time, and ended by SIGTERM as by Ctrl-C."""

import fcntl
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from dreamfusion_kit.errors import SuiteError


@contextmanager
def only_run(workspace: Path, name: str) -> Generator[None, None, None]:
    """Hold the lock of the suite `name`, or raise SuiteError where a run holds it."""
    lock = workspace / ".work" / f"suite-{name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SuiteError(
                f"suite {name}: another run of it is at work; expected one at a time; wait for it, "
                "or end it"
            ) from None
        yield


@contextmanager
def stopped_by_signals() -> Generator[None, None, None]:
    """Make SIGTERM end a run as Ctrl-C does."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
