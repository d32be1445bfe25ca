"""Ordinary failures end in one line and exit status 2, as the shell sees them."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dreamfusion_kit import front_door
from dreamfusion_kit.errors import DreamFusionKitError

ROOT = Path(__file__).parents[1]
FULL = "No space left on device; free some space, then run the command again\n"
WORKSPACE = ROOT / "tests" / "recipe" / "data" / "workspace"


def shell(
    line: str, *, stdout: int = subprocess.PIPE, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in the tests' workspace; $KIT is the command."""
    kit = f"{sys.executable} {ROOT / 'cli.py'}"
    return subprocess.run(
        ["bash", "-c", line.replace("$KIT", kit)],
        cwd=WORKSPACE,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        check=False,
    )


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("command", ["show red_mug", "schema"], ids=["short", "long"])
def test_a_reader_that_leaves_is_one_line(command: str, unbuffered: str) -> None:
    """It has left before the first byte, whichever process is faster."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = shell("$KIT $COMMAND", stdout=writing, COMMAND=command, PYTHONUNBUFFERED=unbuffered)
    finally:
        os.close(writing)
    assert done.returncode == 2
    assert done.stderr == "stdout: its reader closed it before everything was written\n"


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
@pytest.mark.parametrize("command", ["suite list", "schema"], ids=["short", "long"])
def test_a_full_disk_behind_stdout_is_one_line(command: str) -> None:
    done = shell("$KIT $COMMAND > /dev/full", COMMAND=command)
    assert (done.returncode, done.stderr) == (2, "output: " + FULL)


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_disturb_nothing(closed: str) -> None:
    assert shell(f"$KIT show red_mug {closed}").returncode == 0


def test_a_failure_is_told_though_stdout_is_closed() -> None:
    done = shell("$KIT show nobody >&-")
    assert done.returncode == 2
    assert done.stderr.startswith("params.yaml:1: no asset 'nobody'")


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1"])
def test_any_prompt_can_be_printed(encoding: str, tmp_path: Path) -> None:
    line = (
        f"cp -r . {tmp_path}/w && cd {tmp_path}/w && $KIT suite add cat '一只猫' && $KIT show cat"
    )
    done = shell(line, PYTHONIOENCODING=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u4e00\\u53ea\\u732b" in done.stdout


def test_an_interrupt_exits_with_130() -> None:
    program = (
        "import sys, time; from dreamfusion_kit import front_door\n"
        "def wait():\n    print('ready', flush=True); time.sleep(600)\n"
        "front_door.run(wait)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=300)
        finally:
            process.kill()
    assert (process.returncode, err) == (130, "")


def outcome(error: Exception, capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    def fail() -> None:
        raise error

    with pytest.raises(SystemExit) as end:
        front_door.run(fail)
    return end.value.code, capsys.readouterr().err


def test_expected_failures_are_their_message(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(DreamFusionKitError("x: no"), capsys) == (2, "x: no\n")
    full = OSError(errno.ENOSPC, "full", "out/mug/a")
    assert outcome(full, capsys) == (
        2,
        "out/mug/a: " + FULL,
    )


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.\nMore."),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
    ids=["python", "gpu", "system"],
)
def test_memory_that_runs_out_is_one_line(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = outcome(error, capsys)
    assert status == 2
    assert said.startswith("out of memory")
    assert said.endswith("doctor ASSET` says what an asset needs and what would make it fit\n")
    assert said.count("\n") == 1


def test_a_cpu_s_real_out_of_memory_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    status, said = outcome(caught.value, capsys)
    assert status == 2
    assert said.startswith("out of memory (")
    assert said.count("\n") == 1


def test_a_bug_keeps_its_traceback() -> None:
    for bug in (KeyError("x"), RuntimeError("shape"), FileNotFoundError(errno.ENOENT, "x", "y")):
        with pytest.raises(type(bug)):
            front_door.run(lambda bug=bug: (_ for _ in ()).throw(bug))
