"""Makes a suite with a queue of workers, and records it so that `dvc repro` has nothing to do.

The stages run in warm workers, without DVC; their outputs are then committed to DVC's cache and
locks. So an asset costs the work of its stages plus a fraction of a second.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dreamfusion_kit import files
from dreamfusion_kit.errors import SuiteError
from dreamfusion_kit.identity import kit_file
from dreamfusion_kit.recipe.suite import Suite, load_suite, unknown_asset
from dreamfusion_kit.recipe.workspace import suite_file, suite_root
from dreamfusion_kit.suites import dvc_commands
from dreamfusion_kit.suites.commit import Commit
from dreamfusion_kit.suites.crew import Crew
from dreamfusion_kit.suites.dispatch import work_off
from dreamfusion_kit.suites.job_queue import JobQueue
from dreamfusion_kit.suites.lock_file import check_lock, read_lock
from dreamfusion_kit.suites.lock_journal import LockJournal
from dreamfusion_kit.suites.plan import AssetPlan, SuitePlan, lock_path, plan, stage_target
from dreamfusion_kit.suites.pulled import dvc_hash
from dreamfusion_kit.suites.recorder import Recorder
from dreamfusion_kit.suites.remote_crew import RemoteCrew
from dreamfusion_kit.suites.run_guard import only_run, stopped_by_signals
from dreamfusion_kit.suites.status import failures_file, log_file, read_failures
from dreamfusion_kit.suites.worker import Job
from dreamfusion_kit.sync_memory import is_in_sync
from dreamfusion_kit.workspace.sync import check_pipelines


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
    with only_run(workspace, name), stopped_by_signals():
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
            check_pipelines(workspace, suite)  # which DVC could only call invalid
            dvc_commands.repro(root, ["kit"], logs / "dvc.log")
            suite = load_suite(workspace, name)  # someone may have edited it meanwhile
            _check(suite, suite_file(workspace, name), only)
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
                commit = Commit(workspace, suite, crew, logs / "dvc.log")
                work_off(queue, suite, Recorder(commit), crew)
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
