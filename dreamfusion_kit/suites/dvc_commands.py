"""DVC as a program, since its Python API is not guaranteed to be stable."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dreamfusion_kit.errors import SuiteError
from dreamfusion_kit.supervision import STAGE_VARIABLE

_GRACE_S = 10.0  # for an interrupted DVC to leave its lock file whole
_UNREAD = re.compile(r"'.+' (is invalid|validation failed)")
_STAGE_FAILED = "ERROR: failed to reproduce"
_ABOVE_A_STAGE = ("> ", "Running stage")  # printed by DVC before the stage says anything
# `python -m dvc`, which is killed together with the driver that started it, like its stages.
_WITH_DRIVER = (
    "import runpy; from dreamfusion_kit.supervision import end_with_parent; end_with_parent(); "
    "runpy.run_module('dvc', run_name='__main__', alter_sys=True)"
)


# `python -m dvc`, which removes the file in its first argument when it has succeeded.
_THEN_FORGET = """
import os, runpy, sys
forget = sys.argv.pop(1)
try:
    runpy.run_module("dvc", run_name="__main__", alter_sys=True)
except SystemExit as end:
    if not end.code:
        os.unlink(forget)
    raise
"""


_TRIES_WHILE_BUSY = 5


def repro(root: Path, targets: Sequence[str], log: Path) -> None:
    """Run those of these stages that are not up to date, in order, and no others."""
    arguments = ["repro", "--single-item", *targets]
    for _ in range(_TRIES_WHILE_BUSY):
        try:
            _dvc(["-c", _WITH_DRIVER], root, arguments, log)
        except SuiteError as error:
            # A DVC that was killed with its driver holds its locks until it is gone.
            if "is busy" not in str(error):
                raise
            time.sleep(1.0)
        else:
            return
    _dvc(["-c", _WITH_DRIVER], root, arguments, log)


def remove_half_written_rwlock(root: Path) -> bool:
    """Remove DVC's list of who reads and writes what, if a DVC was killed while it wrote it.

    DVC would refuse to run. Returns whether it was removed; one that is just being written stays.
    """
    path = root / ".dvc" / "tmp" / "rwlock"
    for pause_s in (0.5, 0.0):
        try:
            json.loads(path.read_bytes())
        except FileNotFoundError:
            return False
        except ValueError:
            time.sleep(pause_s)
        else:
            return False
    path.unlink(missing_ok=True)
    return True


def commit(
    root: Path,
    targets: Sequence[str],
    log: Path,
    *,
    forget: Path | None = None,
    holding: Sequence[int] = (),
) -> None:
    """Record the present outputs, and what they were made from, in cache and lock.

    It takes a second and is not killed with the driver, which could leave a lock file half
    written.

    Args:
        root: The suite's folder.
        targets: The stages.
        log: The file for what DVC prints.
        forget: A file that the program removes when it has succeeded.
        holding: Descriptors that stay open as long as the program runs.
    """
    program = ["-c", _THEN_FORGET, str(forget.resolve())] if forget else ["-m", "dvc"]
    _dvc(program, root, ["commit", "--force", *targets], log, holding)


def push(root: Path, targets: Sequence[str], log: Path) -> None:
    """Upload the recorded outputs of these stages to the default remote."""
    _dvc(["-c", _WITH_DRIVER], root, ["push", *targets], log)


def pull(root: Path, targets: Sequence[str], log: Path) -> None:
    """Download the recorded outputs of these stages, in place of whatever is there."""
    _dvc(["-c", _WITH_DRIVER], root, ["pull", "--force", *targets], log)


def _dvc(
    program: Sequence[str],
    root: Path,
    arguments: Sequence[str],
    log: Path,
    holding: Sequence[int] = (),
) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        start = file.tell()
        process = subprocess.Popen(
            [sys.executable, *program, "--wait-for-lock", *arguments],
            cwd=root,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            pass_fds=holding,
            start_new_session=True,  # Ctrl-C reaches the driver alone, which passes it on
        )
        try:
            status = process.wait()
        except BaseException:
            _interrupt(process)
            raise
    if status != 0:
        reason = reason_in(log.read_bytes()[start:].decode("utf-8", errors="replace"))
        raise SuiteError(
            f"dvc {arguments[0]}: failed ({reason}); expected it to succeed; see {log}"
        )


def _environment() -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name != STAGE_VARIABLE}
    # The stages call `dreamfusion-kit`, which must be that of this environment.
    folders = [str(Path(sys.executable).parent), environment.get("PATH", "")]
    environment["PATH"] = os.pathsep.join(filter(None, folders))
    # A clone that is not installed is also found from its suites' folders.
    package = str(Path(__file__).parents[2])
    paths = [environment.get("PYTHONPATH", ""), package]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    return environment


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    """End DVC and the stage that it runs, gently first."""
    for number in (signal.SIGINT, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
            return


def reason_in(text: str) -> str:
    """Return the line of DVC's output that says why it failed; DVC's own advice follows it.

    If a stage failed, that is what the stage said last: DVC adds its command and its status alone.
    """
    lines = text.strip().splitlines()
    errors = [index for index, line in enumerate(lines) if line.startswith("ERROR")]
    if not errors:  # DVC shows a part of a file that it cannot read, below what is wrong with it
        unread = [line for line in lines if _UNREAD.match(line)]
        return (unread or lines[-1:] or ["it printed nothing"])[0]
    last = errors[-1]
    of_stage = lines[last].startswith(_STAGE_FAILED) and last > 0
    said = lines[last - 1] if of_stage else ""
    return lines[last] if not said or said.startswith(_ABOVE_A_STAGE) else said
