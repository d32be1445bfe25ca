"""A worker on another machine: it works in a clone and hands over outputs through DVC's remote.

Each order brings the lock entries of what is already made. The clone pulls that, runs the rest,
commits and pushes it, and returns the new lock entries as bytes. The driver writes them into its
own locks and pulls the outputs, so that they are as if it had made them.
"""

import secrets
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType

from dreamfusion_kit import files
from dreamfusion_kit.errors import DreamFusionKitError, SuiteError
from dreamfusion_kit.identity.stage_name import AssetStage
from dreamfusion_kit.recipe.resolved import resolve
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.recipe.suite_schema import FETCHED_CLIP
from dreamfusion_kit.recipe.workspace import suite_root
from dreamfusion_kit.suites import dvc_commands, lock_entries
from dreamfusion_kit.suites.crew import Crew, Died
from dreamfusion_kit.suites.plan import inputs, lock_path, stage_name, stage_target, stages_of
from dreamfusion_kit.suites.recorder import COMMIT_AFTER
from dreamfusion_kit.suites.snapshot import Clone, Snapshot, holds_the_kit
from dreamfusion_kit.suites.status import log_file
from dreamfusion_kit.suites.worker import (
    Failed,
    Finished,
    Job,
    Message,
    RunStage,
    Setting,
    StageDone,
    Steps,
    run_stage,
)

SCRATCH = ".work"
_PUSH_AGAIN_AFTER_S = (2.0, 10.0)  # a remote that is gone for a moment costs no asset


@dataclass(frozen=True)
class Place:
    """What all workers of a run share.

    `scratch` is the driver's folder of checkpoints and logs. A worker uses it if it finds there
    the file `token`, that is, if both see the same storage; otherwise it has its own.
    """

    suite: str
    device: str
    environment: Mapping[str, str]
    scratch: Path
    token: str
    run_stage: RunStage


@dataclass(frozen=True)
class Order:
    """A job, and the driver's locks: the suite's and the asset's, by path in the workspace."""

    job: Job
    locks: Mapping[str, bytes]


@dataclass(frozen=True)
class Handed:
    """What a worker hands over beside the outputs.

    Args:
        asset: The asset.
        entries: Lock entries by the stage's name in DVC.
        costs: The files of out/cost, which DVC does not track, by name.
        log: What was printed, unless the driver sees the log itself.
    """

    asset: str
    entries: Mapping[str, bytes]
    costs: Mapping[str, bytes]
    log: bytes


class Site:
    """A clone with one warm worker. Use it as a context manager."""

    def __init__(self, snapshot: Snapshot, place: Place) -> None:
        """Prepare to work in a clone of `snapshot`."""
        self._snapshot, self._place = snapshot, place
        self._stack = ExitStack()

    def __enter__(self) -> "Site":
        """Make the clone."""
        self._workspace = self._stack.enter_context(Clone(self._snapshot))
        self._root = suite_root(self._workspace, self._place.suite)
        self._suite = load_suite(self._workspace, self._place.suite)
        self._sees_driver = _is_shared(self._place)
        if self._sees_driver:
            (self._workspace / SCRATCH).symlink_to(self._place.scratch)
        if holds_the_kit(self._workspace):
            sys.path.insert(0, str(self._workspace))  # the worker's code is the clone's
        place = self._place
        setting = Setting(self._workspace, place.suite, place.device, place.environment)
        self._crew = self._stack.enter_context(Crew([setting], place.run_stage))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the worker, and remove the clone."""
        self._stack.close()

    def make(self, order: Order) -> Iterator[Message | Died | Handed]:
        """Carry out an order, and yield what the worker says.

        `StageDone` comes after the stage's outputs are in the remote and its entries handed over.
        The last message is `Finished` or `Died`.
        """
        asset, first = order.job.asset, order.job.stages[0]
        try:
            self._bring(order)
        except (DreamFusionKitError, OSError) as error:
            yield Failed(asset, first, str(error))
            yield Finished(asset)
            return
        log = log_file(self._workspace, self._place.suite, asset)
        (worker,) = self._crew.workers
        self._crew.give(worker, replace(order.job, log=log))
        done: list[AssetStage] = []
        while worker.job is not None:
            for _, message in self._crew.hear():
                match message:
                    case StageDone():
                        done.append(message.stage)
                        if message.stage in COMMIT_AFTER:
                            yield from self._hand(asset, done, is_last_try=False)
                    case Died() | Finished():
                        worker.job = None
                        yield from self._hand(asset, done, is_last_try=True)
                        yield self._last_words(asset, log)
                        yield message
                    case _:
                        yield message

    def _bring(self, order: Order) -> None:
        """Put the driver's locks in place, and pull what they record of the job's inputs."""
        for path, content in order.locks.items():
            files.write_bytes(self._workspace / path, content)
        asset = order.job.asset
        stages = stages_of(self._workspace, self._suite, asset)
        before = stages[: stages.index(order.job.stages[0])]
        wanted = inputs(self._suite, asset)
        wanted += [stage_target(self._suite, stage, asset) for stage in before]
        dvc_commands.pull(self._root, wanted, self._log)

    def _hand(
        self, asset: str, done: list[AssetStage], *, is_last_try: bool
    ) -> Iterator[Message | Handed]:
        """Commit and push the stages in `done`; yield their entries, and then that they are done.

        If that fails, they stay in `done` for the next try.
        """
        if not done:
            return
        stages, targets = list(done), [stage_target(self._suite, stage, asset) for stage in done]
        try:
            dvc_commands.commit(self._root, targets, self._log)
            _push(self._root, targets, self._log, patiently=is_last_try)
            entries = lock_entries.entries(lock_path(self._root, self._suite, asset).read_bytes())
        except (DreamFusionKitError, OSError) as error:
            if is_last_try:
                yield Failed(asset, stages[-1], str(error))
            return
        done.clear()
        names = [stage_name(self._suite, stage, asset) for stage in stages]
        costs = {
            path.name: path.read_bytes()
            for path in sorted((self._root / "out" / "cost" / asset).glob("*.json"))
        }
        yield Handed(asset, {name: entries[name] for name in names}, costs, b"")
        yield from (StageDone(asset, stage) for stage in stages)

    def _last_words(self, asset: str, log: Path) -> Handed:
        content = b""
        with suppress(OSError):
            content = b"" if self._sees_driver else log.read_bytes()
            if not self._sees_driver:
                log.unlink()
        return Handed(asset, {}, {}, content)

    @property
    def _log(self) -> Path:
        """Return the file for what DVC prints, in the clone itself."""
        return self._root / "dvc.log"


def new_token(scratch: Path) -> str:
    """Make a file in the driver's folder by which workers see whether the folder is theirs too."""
    scratch.mkdir(parents=True, exist_ok=True)
    token = f"driver-{secrets.token_hex(16)}"
    (scratch / token).touch()
    return token


def run_stage_with_models(stage: AssetStage, setting: Setting, asset: str, steps: Steps) -> None:
    """Bring what the stage computes with to this machine, and run it; a `RunStage`."""
    from dreamfusion_kit.stages import fetch

    resolved = resolve(setting.workspace, setting.suite, asset)
    own = [] if resolved.imported is not None else [resolved.recipe_name]
    for model in (*own, FETCHED_CLIP):
        if (key := (setting.workspace, setting.suite, model)) not in _fetched:
            fetch.run(setting.workspace, setting.suite, model)
            _fetched.add(key)
    run_stage(stage, setting, asset, steps)


_fetched: set[tuple[Path, str, str]] = set()  # of this process


def _is_shared(place: Place) -> bool:
    try:
        return (place.scratch / place.token).is_file()
    except OSError:
        return False


def _push(root: Path, targets: Sequence[str], log: Path, *, patiently: bool) -> None:
    for pause_s in _PUSH_AGAIN_AFTER_S if patiently else ():
        try:
            dvc_commands.push(root, targets, log)
        except SuiteError:
            time.sleep(pause_s)
        else:
            return
    dvc_commands.push(root, targets, log)
