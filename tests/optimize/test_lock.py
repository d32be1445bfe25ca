"""The lock ends with its process, however that ends; an orphan of DVC has to give it up."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dreamfusion_kit.errors import CheckpointError
from dreamfusion_kit.optimize.lock import hold, hold_if_free
from dreamfusion_kit.supervision import Holder

ROOT = Path(__file__).parents[2]

HOLDER = """
import sys, time
from pathlib import Path
from dreamfusion_kit.optimize.lock import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""

PARENT = """
import os, subprocess, sys
holder, path, stage = sys.argv[1:]
environment = {**os.environ, **({"DVC_STAGE": stage} if stage else {})}
child = subprocess.Popen(
    [sys.executable, "-c", holder, path], env=environment, stdout=subprocess.PIPE, text=True
)
assert child.stdout.readline() == "held\\n"
print(child.pid, flush=True)
"""

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def start(program: str, *arguments: str) -> tuple[subprocess.Popen[str], str]:
    """Start a Python program and return it with the first line that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout as lines:
        return process, lines.readline().strip()


def test_a_second_run_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    process, _ = start(HOLDER, str(path))
    try:
        with pytest.raises(CheckpointError, match=f"process {process.pid} is running"), hold(path):
            pass
    finally:
        process.kill()
        process.wait()
    with hold(path):
        assert path.stat().st_size > 0


def start_orphan(path: Path, stage: str) -> tuple[subprocess.Popen[str], int]:
    """Start a parent that starts a holder of the lock and ends at once; return its number."""
    parent, line = start(PARENT, HOLDER, str(path), stage)
    parent.wait()
    return parent, int(line)


def is_alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:4]
    except FileNotFoundError:
        return False


@linux
def test_an_orphan_of_dvc_is_ended_and_its_lock_taken_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "lock"
    _, orphan = start_orphan(path, "optimize@mug")
    assert is_alive(orphan)
    with hold(path):
        assert not is_alive(orphan)
        held_by = Holder.read(path.read_text())
        assert held_by is not None
        assert held_by.pid == os.getpid()
    assert capsys.readouterr().err == (
        f"process {orphan}: ends here; it ran optimize@mug for a DVC that is gone\n"
    )


@linux
def test_an_orphan_that_no_dvc_started_is_left_alone(tmp_path: Path) -> None:
    """A run in the background of a shell that was closed is nobody's mistake."""
    path = tmp_path / "lock"
    _, orphan = start_orphan(path, "")
    try:
        with pytest.raises(CheckpointError, match=f"process {orphan} is running"), hold(path):
            pass
        assert is_alive(orphan)
    finally:
        os.kill(orphan, signal.SIGKILL)


@linux
def test_a_stage_takes_over_from_the_same_stage_of_an_earlier_dvc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parent may have died before it could look; DVC never runs one stage twice at once."""
    path = tmp_path / "lock"
    monkeypatch.setenv("DVC_STAGE", "optimize@mug")
    first, _ = start(HOLDER, str(path))  # as if this process had adopted it
    try:
        monkeypatch.setenv("DVC_STAGE", "optimize@other")
        with pytest.raises(CheckpointError), hold(path):
            pass
        assert first.poll() is None
        monkeypatch.setenv("DVC_STAGE", "optimize@mug")
        with hold(path):
            assert first.wait(300) == -signal.SIGKILL
    finally:
        first.kill()
        first.wait()


def test_a_lock_is_held_if_it_is_free(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with hold_if_free(path) as free:
        assert free
    assert not path.exists()
    with hold(path), hold_if_free(path) as free:
        assert not free
    with hold_if_free(path) as free, pytest.raises(CheckpointError), hold(path):
        assert free
