"""Workers elsewhere, as the driver sees them: a crew whose outputs come through DVC's remote."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from dreamfusion_kit import files
from dreamfusion_kit.recipe.suite import Suite
from dreamfusion_kit.recipe.workspace import suite_root
from dreamfusion_kit.suites import dvc_commands, lock_entries, snapshot
from dreamfusion_kit.suites.crew import Died, Worker
from dreamfusion_kit.suites.lock_file import LockedStage, read_lock
from dreamfusion_kit.suites.plan import (
    AssetPlan,
    inputs,
    lock_path,
    stage_name,
    stage_target,
    stages_of,
)
from dreamfusion_kit.suites.pulled import check_pulled
from dreamfusion_kit.suites.site import SCRATCH, Handed, Order, Place, new_token
from dreamfusion_kit.suites.status import log_file
from dreamfusion_kit.suites.worker import Job, Message, RunStage, Setting

_COST_FILE = re.compile(r"[a-z]+\.json")


class RemoteCrew(ABC):
    """Workers in clones of the workspace's commit. Use it as a context manager.

    What is special to Ray or Slurm is in a subclass: `_start`, `_send`, `_messages` and `_stop`.
    """

    def __init__(self, workspace: Path, suite: str, *, device: str, run_stage: RunStage) -> None:
        """Prepare workers that run stages with `run_stage`; nothing is started yet."""
        setting = Setting(workspace, suite, device, {"OMP_WAIT_POLICY": "passive"})
        self.workers: list[Worker] = []
        self._setting, self._run_stage = setting, run_stage
        self._workspace = setting.workspace
        self._root = suite_root(setting.workspace, setting.suite)
        self._entries: dict[str, dict[str, bytes]] = {}  # by asset: of outputs in the remote

    def prepare(self, suite: Suite, todo: Sequence[AssetPlan], log: Path) -> None:
        """Take the snapshot, and upload what the workers will need of what is already made."""
        self._suite = suite
        self._snapshot = snapshot.take(self._workspace, suite.name)
        targets: set[str] = set()
        for plan in todo:
            stages = stages_of(self._workspace, suite, plan.asset)
            targets |= set(inputs(suite, plan.asset, stages))
            made = stages[: stages.index(plan.stale[0])]
            targets |= {stage_target(suite, stage, plan.asset) for stage in made}
        dvc_commands.push(self._root, sorted(targets), log)

    def __enter__(self) -> "RemoteCrew":
        """Start as many workers as there is room for."""
        from dreamfusion_kit.suites import needs  # torch takes seconds to import

        self._needs = needs.of_suite(self._workspace, self._suite, device=self._setting.device)
        scratch = (self._workspace / SCRATCH).resolve()
        self._token = scratch / new_token(scratch)
        self._place = Place(
            self._setting.suite,
            self._setting.device,
            {**self._setting.environment, "OMP_NUM_THREADS": str(self._needs.cpus)},
            scratch,
            self._token.name,
            self._run_stage,
        )
        try:
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End every worker; a running job resumes next time, where storage is shared."""
        try:
            self._stop()
        finally:
            self._token.unlink(missing_ok=True)

    def idle(self) -> list[Worker]:
        """Return the workers without a job."""
        return [worker for worker in self.workers if worker.job is None]

    def give(self, worker: Worker, job: Job) -> None:
        """Give a worker its next job."""
        worker.job = job
        self._send(worker, Order(job, self._locks(job.asset)))

    def hear(self) -> Iterator[tuple[Worker, Message | Died]]:
        """Wait until a worker has a message, and yield what there is to hear."""
        for worker, message in self._messages():
            if isinstance(message, Handed):
                self._take(message)
            else:
                yield worker, message

    def record(self, assets: Sequence[str], targets: Sequence[str], log: Path) -> None:
        """Put the entries of these stages into the locks, and pull and check their outputs.

        If that fails, the entries stay: `dvc pull` gets the outputs when the remote is back.
        """
        recorded: list[LockedStage] = []
        for asset in assets:
            path = lock_path(self._root, self._suite, asset)
            names = {
                stage_name(self._suite, stage, asset)
                for stage in stages_of(self._workspace, self._suite, asset)
                if stage_target(self._suite, stage, asset) in targets
            }
            known = self._entries[asset]
            new = {name: entry for name, entry in known.items() if name in names}
            files.write_bytes(path, lock_entries.with_entries(_read(path), new))
            locked = read_lock(path)
            recorded += [locked[name] for name in new]
        dvc_commands.pull(self._root, targets, log)
        check_pulled(self._root, recorded)

    def _locks(self, asset: str) -> dict[str, bytes]:
        """Return the locks that an order brings: files, and what is not in them yet."""
        own = lock_path(self._root, self._suite, asset)
        locks = {path: _read(path) for path in (self._root / "dvc.lock", own)}
        if known := self._entries.get(asset):
            locks[own] = lock_entries.with_entries(locks[own], known)
        return {
            path.relative_to(self._workspace).as_posix(): content
            for path, content in locks.items()
            if content
        }

    def _take(self, handed: Handed) -> None:
        self._entries.setdefault(handed.asset, {}).update(handed.entries)
        for name, content in handed.costs.items():
            if _COST_FILE.fullmatch(name):
                files.write_bytes(self._root / "out" / "cost" / handed.asset / name, content)
        if handed.log:
            path = log_file(self._workspace, self._suite.name, handed.asset)
            path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(OSError), path.open("ab") as file:
                file.write(handed.log)

    @abstractmethod
    def _start(self) -> None:
        """Connect, and fill `workers` with as many as there is room for."""

    @abstractmethod
    def _send(self, worker: Worker, order: Order) -> None:
        """Send an order to an idle worker."""

    @abstractmethod
    def _messages(self) -> Iterator[tuple[Worker, Message | Died | Handed]]:
        """Wait a moment, and yield what workers with a job have said meanwhile."""

    @abstractmethod
    def _stop(self) -> None:
        """End every worker, and disconnect."""


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""
