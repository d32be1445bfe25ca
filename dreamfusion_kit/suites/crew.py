"""The workers of one machine: processes that receive jobs and send messages."""

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import TracebackType

from dreamfusion_kit.recipe.suite import Suite
from dreamfusion_kit.recipe.workspace import suite_root
from dreamfusion_kit.suites import dvc_commands
from dreamfusion_kit.suites.lock_journal import LockJournal
from dreamfusion_kit.suites.plan import AssetPlan, lock_path
from dreamfusion_kit.suites.worker import Job, Message, RunStage, Setting, run_stage, work


@dataclass(frozen=True)
class Died:
    """A worker died, with the reason: killed, out of memory, or a crash in a library."""

    reason: str


@dataclass
class Worker:
    """A slot for a worker: its process, once started, and its job."""

    setting: Setting
    process: SpawnProcess | None = field(default=None, repr=False)
    connection: Connection | None = field(default=None, repr=False)
    job: Job | None = None


class Crew:
    """Workers, one per setting, each started with its first job.

    Use it as a context manager: no worker outlives the block.
    """

    def __init__(self, settings: Sequence[Setting], run_stage: RunStage = run_stage) -> None:
        """Prepare one slot per setting; all workers run stages with `run_stage`."""
        self.workers = [Worker(setting) for setting in settings]
        self._run_stage = run_stage

    def prepare(self, suite: Suite, todo: Sequence[AssetPlan], log: Path) -> None:
        """Take note of the suite and what is to be made."""
        workspace = self.workers[0].setting.workspace
        self._root, self._suite = suite_root(workspace, suite.name), suite
        self._journal = LockJournal(workspace, suite.name)

    def record(self, assets: Sequence[str], targets: Sequence[str], log: Path) -> None:
        """Commit the outputs of these stages to DVC."""
        locks = {lock_path(self._root, self._suite, asset) for asset in assets}
        with self._journal.kept(sorted(locks)) as held:
            dvc_commands.commit(
                self._root, targets, log, forget=self._journal.path, holding=(held,)
            )

    def __enter__(self) -> "Crew":
        """Return the crew; no worker has started yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End every worker; a running job resumes from its checkpoint next time."""
        started = [w for w in self.workers if w.process is not None and w.process.pid is not None]
        for worker in started:
            assert worker.process is not None
            worker.process.terminate()
        for worker in started:
            _close(worker)

    def idle(self) -> list[Worker]:
        """Return the workers without a job."""
        return [worker for worker in self.workers if worker.job is None]

    def give(self, worker: Worker, job: Job) -> None:
        """Give a worker its next job; if it has died meanwhile, the next `hear` reports it."""
        if worker.process is None:
            _start(worker, self._run_stage)
        assert worker.connection is not None
        worker.job = job
        with suppress(OSError):
            worker.connection.send(job)

    def hear(self) -> Iterator[tuple[Worker, Message | Died]]:
        """Wait until a worker has a message, and yield one message from each that has."""
        by_connection = {w.connection: w for w in self.workers if w.job is not None}
        for connection in wait([key for key in by_connection if key is not None]):
            assert isinstance(connection, Connection)
            worker = by_connection[connection]
            try:
                message: Message | Died = connection.recv()
            except (EOFError, OSError):  # OSError: killed in the middle of a message
                message = Died(_close(worker))
            yield worker, message


def _start(worker: Worker, run_stage: RunStage) -> None:
    context = multiprocessing.get_context("spawn")
    worker.connection, theirs = context.Pipe()
    # Noted before it starts: an interrupt between the two leaves none behind.
    arguments = (theirs, worker.setting, run_stage)
    worker.process = context.Process(target=work, args=arguments, daemon=True)
    worker.process.start()
    theirs.close()


def _close(worker: Worker) -> str:
    """Wait for a worker that is ending or has ended, free its slot, and return how it ended."""
    assert worker.process is not None
    assert worker.connection is not None
    worker.process.join()
    status = worker.process.exitcode or 0
    worker.process.close()
    worker.connection.close()
    worker.process, worker.connection = None, None
    if status >= 0:
        return f"its worker ended with status {status}"
    name = signal.Signals(-status).name
    hint = ", perhaps for lack of memory" if name == "SIGKILL" else ""
    return f"its worker was ended by {name}{hint}"
