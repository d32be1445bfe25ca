"""Workers as Slurm jobs: one job per asset, submitted by submitit.

Slurm is the queue, so each asset has its own time limit and is taken where there is room. Jobs
and driver share a file system, as submitit requires. A job appends its messages to a file.
"""

import pickle
import signal
import struct
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamfusion_kit.errors import MissingExtraError, SuiteError, printable, shortened
from dreamfusion_kit.suites.crew import Died, Worker
from dreamfusion_kit.suites.remote_crew import RemoteCrew
from dreamfusion_kit.suites.site import Handed, Order, Place, Site, run_stage_with_models
from dreamfusion_kit.suites.snapshot import Snapshot
from dreamfusion_kit.suites.worker import Message, RunStage

DEFAULT_JOBS = 16
_MINUTES = 24 * 60
_LENGTH = struct.Struct(">Q")
_POLL_S = 0.2


@dataclass
class _Running:
    """A submitted job, and how far its messages have been read."""

    job: Any
    messages: Path
    read: int = 0


class SlurmCrew(RemoteCrew):
    """At most `jobs` Slurm jobs at a time."""

    def __init__(
        self,
        workspace: Path,
        suite: str,
        *,
        device: str,
        jobs: int = DEFAULT_JOBS,
        options: Mapping[str, str] | None = None,
        cluster: str = "slurm",
        check_every_s: float = 15.0,
        run_stage: RunStage = run_stage_with_models,
    ) -> None:
        """Prepare jobs.

        Args:
            workspace: The workspace.
            suite: The suite.
            device: cpu, or cuda for one GPU per job.
            jobs: The most jobs at a time.
            options: Slurm's options by submitit's names: partition, time (in minutes), account,
                qos, constraint and others. They replace what doctor's estimate gives.
            cluster: `slurm`; submitit's `local` in tests.
            check_every_s: How often to ask Slurm whether a silent job has died.
            run_stage: The default, except in tests.
        """
        super().__init__(workspace, suite, device=device, run_stage=run_stage)
        self._jobs, self._options = jobs, dict(options or {})
        self._cluster, self._check_every_s = cluster, check_every_s
        self._running: dict[int, _Running] = {}
        self._checked, self._count = 0.0, 0

    def _start(self) -> None:
        submitit = _submitit()
        self._folder = (self._workspace / ".work" / "slurm" / self._token.name).resolve()
        # Jobs and driver read pickles from it, as submitit does: nobody else may write there.
        self._folder.mkdir(parents=True, mode=0o700)
        share = self._needs
        options: dict[str, object] = {
            "job_name": f"dreamfusion-{self._suite.name}",
            "time": _MINUTES,
            "cpus_per_task": share.cpus,
            "mem": f"{-(-share.memory_bytes // 2**20)}MB",
        }
        options |= {"gpus_per_node": share.gpus} if share.gpus else {}
        options |= {name: int(v) if v.isdecimal() else v for name, v in self._options.items()}
        try:
            self._executor = submitit.AutoExecutor(folder=self._folder, cluster=self._cluster)
            self._executor.update_parameters(
                **{f"slurm_{name}": value for name, value in options.items()}
            )
        except (NameError, ValueError, TypeError, RuntimeError) as error:
            reason = shortened(printable(str(error).strip().splitlines()[0]), 200)
            raise SuiteError(f"--slurm: {reason}; expected Slurm, and options it knows") from error
        (self._folder / "shared").write_bytes(pickle.dumps((self._snapshot, self._place)))
        self.workers = [Worker(self._setting) for _ in range(self._jobs)]

    def _send(self, worker: Worker, order: Order) -> None:
        submitit = _submitit()
        self._count += 1
        messages = self._folder / f"{self._count}.messages"
        with _interrupted_only_afterwards():  # a job that is not noted would not be cancelled
            try:
                job = self._executor.submit(carry_out, self._folder / "shared", order, messages)
            except (submitit.core.utils.FailedJobError, OSError) as error:
                lines = str(error).strip().splitlines() or ["?"]
                reason = shortened(printable(lines[-1]), 200)
                raise SuiteError(
                    f"--slurm: sbatch failed ({reason}); expected it to succeed"
                ) from error
            self._running[self.workers.index(worker)] = _Running(job, messages)

    def _messages(self) -> Iterator[tuple[Worker, Message | Died | Handed]]:
        ended = self._ended()  # before reading: what a job said before it ended is read first
        is_silent = True
        for index, running in list(self._running.items()):
            for message in _read(running):
                is_silent = False
                yield self.workers[index], message
            if self.workers[index].job is None:
                del self._running[index]
            elif index in ended:
                del self._running[index]
                yield self.workers[index], Died(_reason(running.job))
        if is_silent:
            time.sleep(_POLL_S)

    def _ended(self) -> set[int]:
        """Return the workers whose jobs have ended; Slurm itself is asked only now and then."""
        now = time.monotonic()
        asks = now - self._checked >= self._check_every_s
        ended: set[int] = set()
        for index, running in self._running.items():
            if running.job.done(force_check=asks):  # the answer is about all jobs
                ended.add(index)
            asks, self._checked = False, now if asks else self._checked
        return ended

    def _stop(self) -> None:
        for running in self._running.values():
            with suppress(OSError):
                running.job.cancel(check=False)


def carry_out(shared: Path, order: Order, messages: Path) -> None:
    """Carry out an order: what a Slurm job runs.

    Args:
        shared: The file with the snapshot and the place.
        order: The order.
        messages: The file to append messages to.
    """
    content: tuple[Snapshot, Place] = pickle.loads(shared.read_bytes())
    with messages.open("ab", buffering=0) as file, Site(*content) as site:
        for message in site.make(order):
            data = pickle.dumps(message)
            file.write(_LENGTH.pack(len(data)) + data)


def _read(running: _Running) -> Sequence[Message | Died | Handed]:
    """Return the messages that are complete and new."""
    with suppress(FileNotFoundError), running.messages.open("rb") as file:
        file.seek(running.read)
        data = file.read()
        found: list[Message | Died | Handed] = []
        start = 0
        while len(data) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(data, start)
            end = start + _LENGTH.size + length
            if end > len(data):
                break
            found.append(pickle.loads(data[start + _LENGTH.size : end]))
            start = end
        running.read += start
        return found
    return ()


def _reason(job: Any) -> str:
    """Return how a job ended, in one line."""
    return f"its Slurm job {job.job_id} ended ({job.state}; log: {job.paths.stderr})"


@contextmanager
def _interrupted_only_afterwards() -> Generator[None, None, None]:
    """Raise KeyboardInterrupt for a SIGINT or SIGTERM when the block has ended."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {n: signal.signal(n, lambda number, _: heard.append(number)) for n in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if heard:
            raise KeyboardInterrupt


def _submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise MissingExtraError(
            "--slurm: submitit is not installed; run `pip install dreamfusion-kit[slurm]`"
        ) from error
    return submitit
