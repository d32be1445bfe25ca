"""A stage ends with its DVC; a process is known by more than its number."""

import ctypes
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dreamfusion_kit import supervision
from dreamfusion_kit.supervision import Holder

ROOT = Path(__file__).parents[1]

# A stand-in for DVC: it starts a command as DVC does, reports its process id and waits.
DVC = """
import os, subprocess, sys, time
environment = {**os.environ, "DVC_STAGE": "optimize@mug", "PYTHONPATH": os.getcwd()}
process = subprocess.Popen(["/bin/bash", "-c", sys.argv[1]], env=environment)
print(process.pid, flush=True)
time.sleep(600)
"""
CHILD = """
import sys, time
from dreamfusion_kit import supervision
if sys.argv[1] != "linux":
    supervision.sys = type("sys", (), {"platform": "darwin"})
supervision.end_with_dvc()
print("watching", flush=True)
time.sleep(600)
"""

HANG_S = 300.0  # far more than anything takes on a busy machine
PR_SET_CHILD_SUBREAPER = 36

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="waits by pidfd")


@pytest.fixture
def _adopting() -> Iterator[None]:
    """Have this process adopt orphans, so that it learns how they ended."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    yield
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def ended(descriptor: int, timeout_s: float) -> bool:
    """Return whether the process of a pidfd ends in time; it need not be ours to reap."""
    readable, _, _ = select.select([descriptor], [], [], timeout_s)
    return readable == [descriptor]


@linux
@pytest.mark.parametrize("system", ["linux", "other"])
def test_a_stage_ends_with_a_killed_dvc(system: str, tmp_path: Path) -> None:
    program = tmp_path / "child.py"
    program.write_text(CHILD)
    command = f"exec {sys.executable} {program} {system}"
    with subprocess.Popen(
        [sys.executable, "-c", DVC, command], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as dvc:
        assert dvc.stdout is not None
        descriptor = os.pidfd_open(int(dvc.stdout.readline()))
        try:
            assert dvc.stdout.readline() == "watching\n"
            assert not ended(descriptor, 0)
            dvc.kill()
            assert ended(descriptor, HANG_S)
        finally:
            os.close(descriptor)


@linux
@pytest.mark.usefixtures("_adopting")
@pytest.mark.parametrize("delay_s", [0.0, 0.1, 0.3, 0.6, 1.0, 2.0])
def test_a_stage_killed_while_it_imports_leaves_no_orphan(delay_s: float) -> None:
    """A real command of the kit, whose imports of torch take seconds.

    The first library that its own imports load tells that Python has started.
    """
    command = f"exec {sys.executable} cli.py doctor"
    with subprocess.Popen(
        [sys.executable, "-c", DVC, command],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
    ) as dvc:
        assert dvc.stdout is not None
        child = int(dvc.stdout.readline())
        descriptor = os.pidfd_open(child)
        try:
            deadline = time.monotonic() + HANG_S
            while "pydantic_core" not in Path(f"/proc/{child}/maps").read_text():
                assert time.monotonic() < deadline
                time.sleep(0.005)
            time.sleep(delay_s)
            had_ended = ended(descriptor, 0)
            dvc.kill()
            dvc.wait()  # from then on the child is ours, also where it had ended by itself
            assert ended(descriptor, HANG_S)
            how = os.waitid(os.P_PIDFD, descriptor, os.WEXITED)
            assert how is not None
            assert had_ended or how.si_status == signal.SIGKILL
        finally:
            os.close(descriptor)


def test_without_dvc_nothing_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    monkeypatch.setattr(supervision, "end_with_parent", lambda: pytest.fail("watched"))
    supervision.end_with_dvc()


def test_a_parent_that_ended_before_it_was_watched_ends_this_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parents, killed = iter([os.getppid(), 1]), []
    monkeypatch.setattr(supervision.os, "getppid", lambda: next(parents))
    monkeypatch.setattr(supervision.os, "kill", lambda *signalled: killed.append(signalled))
    monkeypatch.setattr(supervision.ctypes, "CDLL", lambda *_, **__: _Quiet())
    monkeypatch.setattr(threading, "Thread", lambda **_: _Quiet())
    supervision.end_with_parent()
    assert killed == [(os.getpid(), signal.SIGKILL)]


class _Quiet:
    def prctl(self, *_: int) -> None: ...

    def start(self) -> None: ...


def test_a_holder_survives_its_text() -> None:
    holder = Holder.this_process()
    assert Holder.read(holder.to_text()) == holder
    assert holder.parent == os.getppid()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "123",
        "[]",
        "{}",
        "[" * 100_000,
        '{"pid": "1", "started": 1, "parent": 1, "stage": null}',
        '{"pid": 1, "started": 1, "parent": 1, "stage": null}',
        '{"pid": -1, "started": 1, "parent": 1, "stage": null}',
        '{"pid": 9, "started": 1.5, "parent": 1, "stage": null}',
        '{"pid": true, "started": 1, "parent": 1, "stage": null}',
        '{"pid": 9, "started": 1, "parent": 1, "stage": null, "more": 1}',
    ],
)  # fmt: skip
def test_another_text_is_no_holder(text: str) -> None:
    assert Holder.read(text) is None


@linux
def test_a_process_with_the_same_number_is_another_one() -> None:
    mine = Holder.this_process()
    assert mine.is_running()
    assert mine.started is not None
    later = Holder(mine.pid, mine.started + 1, mine.parent, "optimize@mug")
    assert not later.is_running()
    assert not later.is_orphan()


@linux
def test_a_zombie_runs_no_more() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    deadline = time.monotonic() + HANG_S
    while supervision._started(process.pid) is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert supervision._started(process.pid) is None  # though nobody has waited for it
    assert process.wait() == 0
