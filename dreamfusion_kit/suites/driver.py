"""Makes a suite with a queue of workers, and records it so that `dvc repro` has nothing to do.

The stages run in warm workers, without DVC; their outputs are then committed to DVC's cache and
locks. So an asset costs the work of its stages plus a fraction of a second.
"""

import fcntl
import signal
import sys
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import assert_never

from dreamfusion_kit import files
from dreamfusion_kit.errors import SuiteError
from dreamfusion_kit.identity import kit_file
from dreamfusion_kit.recipe.suite import Suite, load_suite, unknown_asset
from dreamfusion_kit.recipe.workspace import suite_file, suite_root
from dreamfusion_kit.suites import dvc_commands
from dreamfusion_kit.suites.crew import Crew, Died, Worker
from dreamfusion_kit.suites.job_queue import JobQueue, without
from dreamfusion_kit.suites.lock_file import check_lock, read_lock
from dreamfusion_kit.suites.lock_journal import LockJournal
from dreamfusion_kit.suites.plan import AssetPlan, SuitePlan, lock_path, plan, stage_target
from dreamfusion_kit.suites.pulled import dvc_hash
from dreamfusion_kit.suites.recorder import Recorder
from dreamfusion_kit.suites.remote_crew import RemoteCrew
from dreamfusion_kit.suites.status import failures_file, log_file, read_failures
from dreamfusion_kit.suites.table import ProgressTable
from dreamfusion_kit.suites.worker import (
    Failed,
    Finished,
    Job,
    Message,
    Progress,
    StageDone,
    Started,
)
from dreamfusion_kit.sync_memory import is_in_sync


@dataclass(frozen=True)
class Outcome:
    """The outcome of a suite's run: the assets made, and the failed ones with their reasons."""

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


def run_suite(
    workspace: Path,
    name: str,
    *,
    crew: Crew | RemoteCrew,
    only: Sequence[str] = (),
    and_score: bool = True,
) -> Outcome:
    """Make whatever in the suite `name` is not up to date, with the workers of `crew`.

    An asset that fails does not stop the others. Afterwards the suite is scored and reported
    if all its assets exist.

    Args:
        workspace: The workspace.
        name: The suite.
        crew: The workers: on this machine, or elsewhere.
        only: The assets to make; empty means all.
        and_score: Whether to score and report if all assets exist.

    Raises:
        SuiteError: if another run of this suite is in progress, or DVC fails.
        RecipeError: with every problem of the suite, or for an asset that it does not have.
        KeyboardInterrupt: on SIGINT or SIGTERM. No worker is left running, and finished stages are
            recorded.
    """
    root = suite_root(workspace, name)
    logs = workspace / ".work" / "logs" / name
    suite = load_suite(workspace, name)
    _check(suite, suite_file(workspace, name), only)
    with _only_driver(workspace / ".work" / f"suite-{name}.lock", name), _stopped_by_signals():
        for path in LockJournal(workspace, name).recover():
            print(
                f"{path}: restored; a commit that was killed left it half written", file=sys.stderr
            )
        if dvc_commands.remove_half_written_rwlock(root):
            print(
                f"{root}: removed .dvc/tmp/rwlock; a DVC was killed while writing", file=sys.stderr
            )
        check_lock(root / "dvc.lock")
        if not _is_recorded_in_sync(root):
            dvc_commands.repro(root, ["kit"], logs / "dvc.log")
        todo = _with_models(workspace, suite, root, logs)
        chosen = [asset for asset in todo.assets if not only or asset.asset in only]
        stale, damaged = _sorted_by_lock([asset for asset in chosen if asset.stale], root, suite)
        queue = JobQueue(
            Job(asset.asset, asset.stale, log_file(workspace, name, asset.asset)) for asset in stale
        )
        for asset, problem in damaged.items():
            queue.fail(asset, problem)
        try:
            if len(queue) > 0:
                crew.prepare(suite, stale, logs / "dvc.log")
                commit = _Commit(workspace, suite, crew, logs / "dvc.log")
                _work_off(queue, suite, Recorder(commit), crew)
        finally:
            _write_failures(workspace, suite, queue)
        left = {asset.asset for asset in todo.assets if asset.stale} - set(queue.made)
        if and_score and not left:
            dvc_commands.repro(root, ["score", "report"], logs / "dvc.log")
    return Outcome(tuple(queue.made), queue.failed, logs)


def _check(suite: Suite, path: Path, only: Sequence[str]) -> None:
    if not suite.assets:
        raise SuiteError(f"{path}: found no assets, expected one or more; add one, or import some")
    for asset in only:
        if asset not in suite.assets:
            raise unknown_asset(path, asset, suite.assets)


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


@contextmanager
def _stopped_by_signals() -> Generator[None, None, None]:
    """Make SIGTERM end a run as Ctrl-C does."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_recorded_in_sync(root: Path) -> bool:
    """Return whether running the stage `kit` would change neither kit.json nor the lock.

    DVC takes a second to find that out.
    """
    recorded = read_lock(root / "dvc.lock").get("kit")
    return (
        recorded is not None
        and is_in_sync(root)
        and all(dvc_hash(root / name) == known for name, known in recorded.outs.items())
    )


def _with_models(workspace: Path, suite: Suite, root: Path, logs: Path) -> SuitePlan:
    """Return the plan of the suite after fetching the models that it needs."""
    todo = plan(workspace, suite, kit_file.read(workspace, suite.name))
    if not todo.fetches:
        return todo
    targets = [stage_target(suite, "fetch", fetched) for fetched in todo.fetches]
    dvc_commands.repro(root, targets, logs / "dvc.log")
    return plan(workspace, suite, kit_file.read(workspace, suite.name))


def _sorted_by_lock(
    assets: Sequence[AssetPlan], root: Path, suite: Suite
) -> tuple[list[AssetPlan], dict[str, str]]:
    """Return the assets that can be recorded, and the problems of those that cannot."""
    fine: list[AssetPlan] = []
    damaged: dict[str, str] = {}
    for asset in assets:
        try:
            check_lock(lock_path(root, suite, asset.asset))
        except SuiteError as error:
            damaged[asset.asset] = str(error)
        else:
            fine.append(asset)
    return fine, damaged


class _Commit:
    """Records the outputs to which the digests from the start of the run still apply."""

    def __init__(self, workspace: Path, suite: Suite, crew: Crew | RemoteCrew, log: Path) -> None:
        self._root, self._suite, self._log = suite_root(workspace, suite.name), suite, log
        self._crew = crew
        self._before = {path: _read(path) for path in self._kit_files(suite.assets)}

    def __call__(self, assets: Sequence[str], targets: Sequence[str]) -> None:
        for path in self._kit_files(assets):
            if _read(path) != self._before[path]:
                raise SuiteError(
                    f"{path}: changed while the suite was made, expected it to stay; outputs of "
                    "before were not recorded; run the suite again"
                )
        self._crew.record(assets, targets, self._log)

    def _kit_files(self, assets: Iterable[str]) -> Iterator[Path]:
        yield self._root / kit_file.KIT_FILE
        for asset in assets:
            folder = self._suite.declared[asset].folder
            if folder is not None:
                yield self._root / "assets" / folder / kit_file.KIT_FILE


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _work_off(queue: JobQueue, suite: Suite, recorder: Recorder, crew: Crew | RemoteCrew) -> None:
    """Run the queue's jobs to the end, or until a signal stops the run."""
    try:
        with ProgressTable(len(queue)) as table, recorder, crew:
            while True:
                for worker in crew.idle():
                    if (job := queue.take()) is not None:
                        crew.give(worker, job)
                if len(crew.idle()) == len(crew.workers):
                    break
                for worker, message in crew.hear():
                    _take(worker, message, queue, suite, table, recorder)
    finally:
        for asset, reason in recorder.failures.items():
            queue.fail(asset, reason)


def _take(
    worker: Worker,
    message: Message | Died,
    queue: JobQueue,
    suite: Suite,
    table: ProgressTable,
    recorder: Recorder,
) -> None:
    """Act on a worker's message."""
    job = worker.job
    assert job is not None
    match message:
        case Died():
            worker.job = None
            if queue.put_back(job, message.reason):
                table.say(f"{job.asset}: {message.reason}; it is taken again")
                return
            if job.asset in queue.failed:
                table.tell(Failed(job.asset, job.stages[0], queue.failed[job.asset]))
            recorder.flush(job.asset)
            table.tell(Finished(job.asset))
            return
        case Started() | Progress():
            pass
        case StageDone():
            worker.job = without(job, message.stage)
            recorder.note(job.asset, message.stage, stage_target(suite, message.stage, job.asset))
        case Failed():
            queue.fail(message.asset, f"{message.stage}: {message.message}")
        case Finished():
            worker.job = None
            recorder.flush(message.asset)
            queue.finish(message.asset)
        case _:
            assert_never(message)
    table.tell(message)


def _write_failures(workspace: Path, suite: Suite, queue: JobQueue) -> None:
    """Write the failures of this run, keeping those of assets that it did not touch."""
    path = failures_file(workspace, suite.name)
    before = read_failures(workspace, suite.name)
    kept = {
        asset: reason
        for asset, reason in before.items()
        if asset in suite.assets and asset not in queue.made
    }
    if kept | queue.failed != before:
        files.write_json(path, kept | queue.failed)
