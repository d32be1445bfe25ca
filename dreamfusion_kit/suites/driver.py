"""Makes a suite by a queue over workers, and records it so that `dvc repro` has nothing to do.

The stages run in warm workers, without DVC; what they wrote is then committed to DVC's cache and
locks, one asset at a time. So an asset costs the work of its stages and about a second.
"""

import fcntl
import multiprocessing
import signal
import threading
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType

from dreamfusion_kit import files
from dreamfusion_kit.errors import SuiteError
from dreamfusion_kit.identity import kit_file
from dreamfusion_kit.recipe.suite import Suite, load_suite
from dreamfusion_kit.recipe.workspace import suite_root
from dreamfusion_kit.suites import dvc_commands
from dreamfusion_kit.suites.plan import AssetPlan, plan, stage_target
from dreamfusion_kit.suites.status import failures_file
from dreamfusion_kit.suites.table import ProgressTable
from dreamfusion_kit.suites.worker import (
    Failed,
    Finished,
    Job,
    Message,
    Progress,
    Setting,
    StageDone,
    Started,
    work,
)

_MAX_TRIES = 3  # of an asset whose worker died: killed, or out of memory
_COMMIT_AFTER = ("optimize", "evaluate")  # what is dear, and what is last


@dataclass(frozen=True)
class Outcome:
    """What a run of a suite came to: the assets made, and the failed ones with their reasons."""

    made: tuple[str, ...]
    failed: dict[str, str]
    logs: Path

    def summary(self) -> str:
        """Return what happened, one line per failure, for a terminal."""
        lines = [f"{len(self.made)} made, {len(self.failed)} failed"]
        lines += [
            f"{asset}: {' '.join(reason.split())} (log: {self.logs / asset}.log)"
            for asset, reason in self.failed.items()
        ]
        return "\n".join(lines)


@dataclass
class _Worker:
    """A worker's process, and the job that it has."""

    process: SpawnProcess
    connection: Connection
    job: Job | None = None


@dataclass
class _Queue:
    """The jobs that wait, and how often each was begun."""

    jobs: list[Job]
    tries: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)

    def take(self) -> Job | None:
        if not self.jobs:
            return None
        job = self.jobs.pop(0)
        self.tries[job.asset] = self.tries.get(job.asset, 0) + 1
        return job

    def return_or_fail(self, job: Job, reason: str) -> bool:
        """Put back the job of a worker that died, unless it died too often; say which."""
        if self.tries[job.asset] < _MAX_TRIES:
            self.jobs.insert(0, job)
            return True
        self.failed[job.asset] = f"{reason}, {_MAX_TRIES} times"
        return False


def run_suite(
    workspace: Path, name: str, *, settings: Sequence[Setting], only: Sequence[str] = ()
) -> Outcome:
    """Make what is not up to date of the suite `name`, one worker per setting.

    An asset that fails does not stop the others. Afterwards the suite is scored and reported,
    where every asset is there.

    Raises:
        SuiteError: where another run of this suite is going on, or DVC fails.
        RecipeError: with every problem of the suite.
    """
    root = suite_root(workspace, name)
    logs = workspace / ".work" / "logs" / name
    with _only_driver(workspace / ".work" / f"suite-{name}.lock", name):
        dvc_commands.repro(root, ["kit"], logs / "dvc.log")
        suite = load_suite(workspace, name)
        todo = plan(workspace, suite, kit_file.read(workspace, name))
        if todo.fetches:
            targets = [stage_target(suite, "fetch", fetched) for fetched in todo.fetches]
            dvc_commands.repro(root, targets, logs / "dvc.log")
            todo = plan(workspace, suite, kit_file.read(workspace, name))
        chosen = [asset for asset in todo.assets if not only or asset.asset in only]
        queue = _Queue([_job(asset, logs) for asset in chosen if asset.stale])
        if queue.jobs:
            _work_off(queue, suite, root, settings, logs)
        files.write_json(failures_file(workspace, name), queue.failed)
        everything = not queue.failed and not any(
            asset.stale for asset in todo.assets if asset.asset not in queue.made
        )
        if everything:
            dvc_commands.repro(root, ["score", "report"], logs / "dvc.log")
    return Outcome(tuple(queue.made), queue.failed, logs)


@contextmanager
def _only_driver(lock: Path, name: str) -> Generator[None, None, None]:
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


def _job(asset: AssetPlan, logs: Path) -> Job:
    return Job(asset.asset, asset.stale, logs / f"{asset.asset}.log")


def _work_off(
    queue: _Queue, suite: Suite, root: Path, settings: Sequence[Setting], logs: Path
) -> None:
    """Run the queue's jobs to their end, or until a signal says to stop."""
    recorder = _Recorder(suite, root, logs)
    workers = [_start(setting) for setting in settings[: len(queue.jobs)]]
    with ProgressTable(len(queue.jobs)) as table, _stopping(workers), recorder:
        for worker in workers:
            _give(worker, queue)
        while any(worker.job is not None for worker in workers):
            ready = wait([worker.connection for worker in workers if worker.job is not None])
            for index, worker in enumerate(workers):
                if worker.connection in ready and not _hear(worker, queue, table, recorder):
                    workers[index] = _replace(worker, settings[index], queue, table)
        for worker in workers:
            worker.connection.send(None)
            worker.process.join()


def _hear(worker: _Worker, queue: _Queue, table: ProgressTable, recorder: "_Recorder") -> bool:
    """Take a worker's next message; return False where it has died instead."""
    try:
        message: Message = worker.connection.recv()
    except (EOFError, ConnectionResetError):
        return False
    assert worker.job is not None
    match message:
        case StageDone():
            recorder.note(worker.job, message)
        case Failed():
            queue.failed[message.asset] = f"{message.stage}: {message.message}"
        case Finished():
            recorder.finish(message.asset)
            if message.asset not in queue.failed:
                queue.made.append(message.asset)
        case Started() | Progress():
            pass
    table.tell(message)
    if isinstance(message, Finished):
        _give(worker, queue)
    return True


def _give(worker: _Worker, queue: _Queue) -> None:
    worker.job = queue.take()
    if worker.job is not None:
        worker.connection.send(worker.job)


def _start(setting: Setting) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, setting), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _replace(worker: _Worker, setting: Setting, queue: _Queue, table: ProgressTable) -> _Worker:
    """Start another worker for one that died, and let the asset be taken again."""
    worker.process.join()
    reason = f"its worker ended with status {worker.process.exitcode}"
    job = worker.job
    assert job is not None
    if not queue.return_or_fail(job, reason):
        table.tell(Failed(job.asset, job.stages[0], queue.failed[job.asset]))
        table.tell(Finished(job.asset))
    fresh = _start(setting)
    _give(fresh, queue)
    return fresh


class _Recorder:
    """Commits finished stages to DVC, one at a time, while the workers go on."""

    def __init__(self, suite: Suite, root: Path, logs: Path) -> None:
        self._suite, self._root, self._logs = suite, root, logs
        self._pool = ThreadPoolExecutor(1)
        self._waiting: dict[str, list[str]] = {}
        self._futures: list[Future[None]] = []

    def note(self, job: Job, done: StageDone) -> None:
        """Take note of a stage; commit where it was dear or the last."""
        targets = self._waiting.setdefault(done.asset, [])
        targets.append(stage_target(self._suite, done.stage, done.asset))
        if done.stage in _COMMIT_AFTER:
            self.finish(done.asset)

    def finish(self, asset: str) -> None:
        """Commit what waits of an asset."""
        targets = self._waiting.pop(asset, [])
        if targets:
            log = self._logs / "dvc.log"
            future = self._pool.submit(dvc_commands.commit, self._root, targets, log)
            self._futures.append(future)

    def __enter__(self) -> "_Recorder":
        return self

    def __exit__(self, *_: object) -> None:
        for asset in list(self._waiting):
            self.finish(asset)
        self._pool.shutdown()
        for future in self._futures:
            future.result()


@contextmanager
def _stopping(workers: list[_Worker]) -> Generator[None, None, None]:
    """On SIGINT and SIGTERM end the workers; an optimisation resumes from its checkpoint."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    in_main = threading.current_thread() is threading.main_thread()
    before = {n: signal.signal(n, stop) for n in (signal.SIGINT, signal.SIGTERM)} if in_main else {}
    try:
        yield
    finally:
        for worker in workers:
            if worker.process.is_alive() and worker.job is not None:
                worker.process.terminate()
                worker.process.join()
        for number, handler in before.items():
            signal.signal(number, handler)
