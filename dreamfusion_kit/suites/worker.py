"""A worker: one process that imports the stages once and then makes one asset after another.

It receives jobs, the stages of an asset to run, and reports back with `Progress`, `StageDone`
and `Failed`. Everything that the stages print goes to the asset's log.
"""

import fcntl
import os
import signal
import sys
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from dreamfusion_kit.errors import DreamFusionKitError, printable, shortened
from dreamfusion_kit.identity import kit_file
from dreamfusion_kit.identity.stage_name import AssetStage
from dreamfusion_kit.supervision import STAGE_VARIABLE, end_with_parent
from dreamfusion_kit.system_errors import system_problem

if TYPE_CHECKING:
    import torch

    from dreamfusion_kit.optimize.metrics import StepMetrics

_REPORT_EVERY_STEPS = 5


@dataclass(frozen=True)
class Job:
    """The stages of one asset to run, in order, and the file for what they print."""

    asset: str
    stages: tuple[AssetStage, ...]
    log: Path


@dataclass(frozen=True)
class Setting:
    """A worker's folder, device and environment: the same for all its jobs."""

    workspace: Path
    suite: str
    device: str
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Started:
    """A stage begins."""

    asset: str
    stage: AssetStage


@dataclass(frozen=True)
class Progress:
    """An optimisation has finished `done` of `total` steps."""

    asset: str
    done: int
    total: int


@dataclass(frozen=True)
class StageDone:
    """A stage has written its outputs."""

    asset: str
    stage: AssetStage


@dataclass(frozen=True)
class Failed:
    """A stage ended in an error; the asset's later stages are not run."""

    asset: str
    stage: AssetStage
    message: str


@dataclass(frozen=True)
class Finished:
    """Every stage of the job is done, or one has failed: the worker waits for the next."""

    asset: str


Message = Started | Progress | StageDone | Failed | Finished


def work(connection: Connection, setting: Setting, run_stage: "RunStage") -> None:
    """Run jobs from the connection until the other end closes.

    Args:
        connection: To the driver; jobs come in, messages go out.
        setting: What all jobs of this worker share.
        run_stage: The default, except in tests and benchmarks.
    """
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the driver, which ends us
    os.environ.update(setting.environment)  # before torch reads how many threads it may have
    os.environ.pop(STAGE_VARIABLE, None)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            job: Job = connection.recv()
            try:
                with _printing_to(job.log), _holding(job.log.with_suffix(".running")):
                    _run(job, setting, run_stage, connection)
            except OSError as error:  # from the log: a full disk, or the driver's own end
                connection.send(Failed(job.asset, job.stages[0], _one_line(error)))
            connection.send(Finished(job.asset))


def _run(job: Job, setting: Setting, run_stage: "RunStage", connection: Connection) -> None:
    for stage in job.stages:
        connection.send(Started(job.asset, stage))
        try:
            _forget_peak_memory()
            # The digests of kit.json are recorded, so they have to be those of this code.
            with kit_file.unchanged(setting.workspace, setting.suite, stage, job.asset):
                run_stage(stage, setting, job.asset, Steps(job.asset, connection))
        except Exception as error:  # A bug in one asset must not end the suite; the log has it.
            connection.send(Failed(job.asset, stage, _one_line(error)))
            if isinstance(error, DreamFusionKitError):
                print(error, file=sys.stderr)
            else:
                traceback.print_exc()
            return
        connection.send(StageDone(job.asset, stage))


def _one_line(error: Exception) -> str:
    """Return the message of a failure; a bug's traceback is in the log."""
    known = error if isinstance(error, DreamFusionKitError) else system_problem(error)
    if known is not None:
        return str(known)
    return f"{type(error).__name__}: {shortened(printable(str(error)), 200)}"


def run_stage(stage: AssetStage, setting: Setting, asset: str, steps: "Steps") -> None:
    """Run one stage of an asset in this process, as its command does; a `RunStage`."""
    from dreamfusion_kit.stages import devices

    device: torch.device = devices.pick(setting.device)
    where = (setting.workspace, setting.suite, asset, device)
    match stage:
        case "embed":
            from dreamfusion_kit.stages import embed

            embed.run(*where)
        case "optimize":
            from dreamfusion_kit.stages import extras, memory, optimize

            extras.check(setting.workspace, setting.suite, asset)
            memory.check(*where)
            optimize.run(*where, also=(steps,))
        case "mesh":
            from dreamfusion_kit.stages import mesh

            mesh.run(*where)
        case "refine":
            from dreamfusion_kit.stages import refine

            refine.run(*where, also=(steps,))
        case "evaluate":
            from dreamfusion_kit.stages import evaluate

            evaluate.run(*where)
        case _:
            assert_never(stage)


class Steps:
    """Tells the driver how far an optimisation is: a second `Monitor`, beside the log's."""

    def __init__(self, asset: str, connection: Connection) -> None:
        """Report over `connection`."""
        self._asset, self._connection = asset, connection
        self._total = 0

    def start(self, history: "Sequence[StepMetrics]", num_steps: int) -> None:
        """Report how much of an optimisation is already done."""
        self._total = num_steps
        self._connection.send(Progress(self._asset, len(history), num_steps))

    def step(self, step: int, metrics: "StepMetrics") -> None:
        """Report the progress every few steps."""
        if (step + 1) % _REPORT_EVERY_STEPS == 0 or step + 1 == self._total:
            self._connection.send(Progress(self._asset, step + 1, self._total))

    def note(self, message: str) -> None:
        """Do nothing: notes go to the log."""

    def finish(self) -> None:
        """Do nothing: `StageDone` reports the end."""


RunStage = Callable[[AssetStage, Setting, str, Steps], None]


class _printing_to:  # noqa: N801 - reads as a verb where it is used
    """Redirects everything that this process and its libraries print to a file."""

    def __init__(self, log: Path) -> None:
        self._log = log

    def __enter__(self) -> None:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._kept = [os.dup(1), os.dup(2)]
        descriptor = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        os.close(descriptor)

    def __exit__(self, *_: object) -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):  # the disk is full: the output is lost, but not the asset
                stream.flush()
        for target, kept in zip((1, 2), self._kept, strict=True):
            os.dup2(kept, target)
            os.close(kept)


@contextmanager
def _holding(path: Path) -> Generator[None, None, None]:
    """Hold a lock on a file, so that `suite status` knows that the asset is being made."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _forget_peak_memory() -> None:
    """Reset the peak memory, so that a stage records its own, not an earlier asset's (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    torch_ = sys.modules.get("torch")
    if torch_ is not None and torch_.cuda.is_available() and torch_.cuda.is_initialized():
        torch_.cuda.reset_peak_memory_stats()
