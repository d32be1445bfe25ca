"""A worker: one process that imports the stages once and then makes asset after asset.

It is told which stages of which asset to run, and tells what it does: `Progress`, `StageDone`,
`Failed`. All that the stages print goes to the asset's log.
"""

import fcntl
import os
import signal
import sys
import traceback
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.identity.stage_name import AssetStage
from dreamfusion_kit.supervision import STAGE_VARIABLE, end_with_parent

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
    """Where a worker works, and with what: the same for all its jobs."""

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
    """Of an optimisation: `done` of `total` steps."""

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


def work(connection: Connection, setting: Setting) -> None:
    """Run jobs from the connection until it says None, or the other end closes."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the driver, which ends us
    os.environ.update(setting.environment)  # before torch reads how many threads it may have
    os.environ.pop(STAGE_VARIABLE, None)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while (job := connection.recv()) is not None:
            with _printing_to(job.log), _holding(job.log.with_suffix(".running")):
                _run(job, setting, connection)
            connection.send(Finished(job.asset))


def _run(job: Job, setting: Setting, connection: Connection) -> None:
    for stage in job.stages:
        connection.send(Started(job.asset, stage))
        try:
            _forget_peak_memory()
            run_stage(stage, setting, job.asset, _Steps(job.asset, connection))
        except DreamFusionKitError as error:
            print(error, file=sys.stderr)
            connection.send(Failed(job.asset, stage, str(error)))
            return
        except Exception as error:  # A bug in one asset must not end the suite; the log has it.
            traceback.print_exc()
            line = " ".join(str(error).split())[:200]
            connection.send(Failed(job.asset, stage, f"{type(error).__name__}: {line}"))
            return
        connection.send(StageDone(job.asset, stage))


def run_stage(stage: AssetStage, setting: Setting, asset: str, steps: "_Steps") -> None:
    """Run one stage of an asset in this process, as its command does."""
    from dreamfusion_kit.stages import devices

    device: torch.device = devices.pick(setting.device)
    where = (setting.workspace, setting.suite, asset, device)
    match stage:
        case "embed":
            from dreamfusion_kit.stages import embed

            embed.run(*where)
        case "optimize":
            from dreamfusion_kit.stages import memory, optimize

            memory.check(*where)
            optimize.run(*where, also=(steps,))
        case "mesh":
            from dreamfusion_kit.stages import mesh

            mesh.run(*where)
        case "evaluate":
            from dreamfusion_kit.stages import evaluate

            evaluate.run(*where)
        case _:
            assert_never(stage)


class _Steps:
    """Tells the driver how far an optimisation is; a `Monitor` beside the log's."""

    def __init__(self, asset: str, connection: Connection) -> None:
        self._asset, self._connection = asset, connection
        self._total = 0

    def start(self, history: "Sequence[StepMetrics]", num_steps: int) -> None:
        self._total = num_steps
        self._connection.send(Progress(self._asset, len(history), num_steps))

    def step(self, step: int, metrics: "StepMetrics") -> None:
        if (step + 1) % _REPORT_EVERY_STEPS == 0 or step + 1 == self._total:
            self._connection.send(Progress(self._asset, step + 1, self._total))

    def note(self, message: str) -> None:
        pass

    def finish(self) -> None:
        pass


class _printing_to:  # noqa: N801 - reads as a verb where it is used
    """Sends all that this process prints, its libraries included, to a file."""

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
        sys.stdout.flush()
        sys.stderr.flush()
        for target, kept in zip((1, 2), self._kept, strict=True):
            os.dup2(kept, target)
            os.close(kept)


@contextmanager
def _holding(path: Path) -> Generator[None, None, None]:
    """Hold a file locked, by which `suite status` knows that the asset is being made."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
        path.unlink(missing_ok=True)


def _forget_peak_memory() -> None:
    """Have the peak that a stage records be its own, not that of the assets before (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    torch_ = sys.modules.get("torch")
    if torch_ is not None and torch_.cuda.is_available() and torch_.cuda.is_initialized():
        torch_.cuda.reset_peak_memory_stats()
