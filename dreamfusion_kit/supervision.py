"""A stage ends with the DVC that started it, and its locks can be taken over.

A killed `dvc repro` would leave its stage running, beside the one that the next `dvc repro`
starts. Linux can be asked to kill a process with its parent; elsewhere a thread watches the
parent. Neither helps if DVC died before the stage could ask. Such an orphan is found by the
next stage, which needs the lock that it holds: see `Holder.is_orphan`.
"""

import ctypes
import json
import os
import signal
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_POLL_S = 0.5
STAGE_VARIABLE = "DVC_STAGE"  # DVC tells every command the name of its stage


def end_with_dvc() -> None:
    """Have this process killed when the DVC that runs it ends; do nothing without DVC.

    Call it before the imports, which take a second. Work that a shell runs in the background
    outlives its shell, as usual.
    """
    if STAGE_VARIABLE in os.environ:
        end_with_parent()


def end_with_parent() -> None:
    """Have this process killed when its parent ends."""
    parent = os.getppid()
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # It ended before the kernel was told to watch it.
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Holder:
    """A process that holds a lock, as it describes itself in the lock's file.

    `started` is its start in clock ticks since boot, so that another process with the same
    id is not taken for it; None if the system does not tell. `parent` is the process that
    started it. `stage` is the DVC stage that it runs; None outside of DVC.
    """

    pid: int
    started: int | None
    parent: int
    stage: str | None

    @classmethod
    def this_process(cls) -> "Holder":
        """Return the description of this process."""
        pid = os.getpid()
        return cls(pid, _started(pid), os.getppid(), os.environ.get(STAGE_VARIABLE))

    @classmethod
    def read(cls, text: str) -> "Holder | None":
        """Return what `to_text` wrote; None for any other text."""
        try:
            found: dict[str, Any] = json.loads(text)
            integers = (found["pid"], found["parent"], found["started"] or 0)
            if all(type(value) is int for value in integers) and found["pid"] > 1:
                return cls(**found)
        except (ValueError, TypeError, KeyError, RecursionError):
            pass
        return None

    def to_text(self) -> str:
        """Return the description as one line of JSON."""
        return json.dumps(asdict(self))

    def is_running(self) -> bool:
        """Return whether it is still running, as far as the system tells."""
        return self.started is not None and _started(self.pid) == self.started

    def is_orphan(self) -> bool:
        """Return whether it runs a stage for a DVC that is gone.

        Either its parent has changed, or this process runs the same stage, which DVC's own
        locks allow to one DVC at a time.
        """
        if self.stage is None or not self.is_running():
            return False
        return self.stage == os.environ.get(STAGE_VARIABLE) or _parent(self.pid) != self.parent

    def end(self, *, timeout_s: float = 10.0) -> bool:
        """Kill it; return whether it is gone. Its checkpoints survive."""
        deadline = time.monotonic() + timeout_s
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        while self.is_running() and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self.is_running()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    os.kill(os.getpid(), signal.SIGKILL)


def _started(pid: int) -> int | None:
    fields = _stat(pid)
    # The 22nd field of proc(5)'s stat. A zombie no longer holds anything.
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def _parent(pid: int) -> int | None:
    fields = _stat(pid)
    return None if fields is None else int(fields[1])


def _stat(pid: int) -> list[str] | None:
    """Return the fields after the program's name, which may hold anything; Linux only."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()
