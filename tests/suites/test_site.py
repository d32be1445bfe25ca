"""A worker in a clone: what it pulls, commits, pushes and hands over.

DVC and the stages are scripts.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from dreamfusion_kit.errors import SuiteError
from dreamfusion_kit.identity.stage_name import AssetStage
from dreamfusion_kit.recipe.workspace import suite_root
from dreamfusion_kit.suites import lock_entries, site, snapshot
from dreamfusion_kit.suites.crew import Died, Worker
from dreamfusion_kit.suites.site import Handed, Order, Place, Site
from dreamfusion_kit.suites.snapshot import Snapshot
from dreamfusion_kit.suites.worker import (
    Failed,
    Finished,
    Job,
    Message,
    Setting,
    StageDone,
    Started,
)

from .conftest import SUITE, make_workspace, share

ASSET = "ball"
LOCK = f"suites/{SUITE}/assets/{ASSET}/dvc.lock"
STAGES: tuple[AssetStage, ...] = ("embed", "optimize", "mesh", "evaluate")
HEAD = b"schema: '2.0'\nstages:\n"
JOB = Job(ASSET, STAGES, Path("of the driver.log"))


@dataclass
class Dvc:
    """DVC's commands, noted; a commit writes one line per stage into the lock."""

    root: Path | None = None
    calls: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    failing_pushes: int = 0
    pull_fails: bool = False

    def pull(self, root: Path, targets: Sequence[str], log: Path) -> None:
        self.calls.append(("pull", _names(targets)))
        if self.pull_fails:
            raise SuiteError("dvc pull: failed (no such object)")

    def commit(self, root: Path, targets: Sequence[str], log: Path) -> None:
        self.calls.append(("commit", _names(targets)))
        path = root / "assets" / ASSET / "dvc.lock"
        before = path.read_bytes() if path.is_file() else b""
        new = {name: f"  {name}:\n    cmd: made here\n".encode() for name in _names(targets)}
        path.write_bytes(lock_entries.with_entries(before, new))

    def push(self, root: Path, targets: Sequence[str], log: Path) -> None:
        self.calls.append(("push", _names(targets)))
        if self.failing_pushes > 0:
            self.failing_pushes -= 1
            raise SuiteError("dvc push: failed (the remote is away)")


def _names(targets: Sequence[str]) -> tuple[str, ...]:
    return tuple(target.partition(":")[2] or target for target in targets)


class Scripted:
    """A crew of one worker that says what the test wrote down, and prints into the job's log."""

    script: tuple[Message | Died, ...] = ()
    jobs: tuple[Job, ...] = ()
    setting: Setting

    def __init__(self, settings: Sequence[Setting], run_stage: object) -> None:
        (setting,) = settings
        Scripted.setting, Scripted.jobs = setting, ()
        self.workers = [Worker(setting)]

    def __enter__(self) -> "Scripted":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def give(self, worker: Worker, job: Job) -> None:
        Scripted.jobs += (job,)
        worker.job = job
        job.log.parent.mkdir(parents=True, exist_ok=True)
        job.log.write_text("printed\n")

    def hear(self) -> Iterator[tuple[Worker, Message | Died]]:
        for message in Scripted.script:
            yield self.workers[0], message


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    made = make_workspace(tmp_path_factory.mktemp("site") / "workspace", {ASSET: "a red ball"})
    share(made, "s3://bucket/dvc")
    return snapshot.take(made.path, SUITE)


@pytest.fixture
def dvc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Dvc:
    """Put the scripts in the place of DVC and the worker; pauses take no time."""
    fake = Dvc()
    monkeypatch.setattr(site, "dvc_commands", fake)
    monkeypatch.setattr(site, "Crew", Scripted)
    monkeypatch.setattr(site.time, "sleep", lambda seconds: fake.calls.append(("sleep", ())))
    (tmp_path / "clones").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "clones"))
    return fake


def _place(scratch: Path, token: str = "absent") -> Place:
    return Place(SUITE, "cpu", {}, scratch, token, lambda *_: None)


def _finished(*stages: AssetStage) -> tuple[Message | Died, ...]:
    said: list[Message | Died] = []
    for stage in stages:
        said += [Started(ASSET, stage), StageDone(ASSET, stage)]
    return (*said, Finished(ASSET))


def _make(
    taken: Snapshot, place: Place, order: Order, *script: Message | Died
) -> list[Message | Died | Handed]:
    Scripted.script = script
    with Site(taken, place) as one:
        return list(one.make(order))


def test_expensive_stages_are_handed_over_as_they_end_and_the_rest_with_them(
    taken: Snapshot, dvc: Dvc, tmp_path: Path
) -> None:
    said = _make(taken, _place(tmp_path), Order(JOB, {}), *_finished(*STAGES))
    assert dvc.calls == [
        ("pull", ("fetch_analytic", "fetch_clip")),
        ("commit", ("embed", "optimize")),
        ("push", ("embed", "optimize")),
        ("commit", ("mesh", "evaluate")),
        ("push", ("mesh", "evaluate")),
    ]
    kinds = [type(message).__name__ for message in said]
    assert kinds == [
        *["Started", "Started", "Handed", "StageDone", "StageDone"],
        *["Started", "Started", "Handed", "StageDone", "StageDone"],
        *["Handed", "Finished"],
    ]
    first, second, last = (message for message in said if isinstance(message, Handed))
    assert list(first.entries) == ["embed", "optimize"]
    assert second.entries["mesh"] == b"  mesh:\n    cmd: made here\n"
    assert (last.entries, last.log) == ({}, b"printed\n")


def test_an_order_brings_the_locks_and_what_they_record_is_pulled(
    taken: Snapshot, dvc: Dvc, tmp_path: Path
) -> None:
    lock = HEAD + b"  embed:\n    cmd: made there\n  optimize:\n    cmd: made there\n"
    order = Order(replace(JOB, stages=("mesh", "evaluate")), {LOCK: lock})
    said = _make(taken, _place(tmp_path), order, *_finished("mesh", "evaluate"))
    assert dvc.calls[0] == ("pull", ("fetch_analytic", "fetch_clip", "embed", "optimize"))
    (handed, _) = (message for message in said if isinstance(message, Handed))
    assert list(handed.entries) == ["mesh", "evaluate"]  # the driver has the others


def test_a_job_that_cannot_start_fails_in_its_first_stage(
    taken: Snapshot, dvc: Dvc, tmp_path: Path
) -> None:
    dvc.pull_fails = True
    order = Order(replace(JOB, stages=("mesh",)), {})
    said = _make(taken, _place(tmp_path), order)
    reason = "dvc pull: failed (no such object)"
    assert said == [Failed(ASSET, "mesh", reason), Finished(ASSET)]
    assert Scripted.jobs == ()


def test_a_remote_that_is_away_for_a_moment_costs_nothing(
    taken: Snapshot, dvc: Dvc, tmp_path: Path
) -> None:
    """The first stage waits for the next push; the last one is pushed with patience."""
    dvc.failing_pushes = 2
    order = Order(replace(JOB, stages=("optimize",)), {})
    said = _make(taken, _place(tmp_path), order, *_finished("optimize"))
    pushes = [name for name, _ in dvc.calls if name in ("push", "sleep")]
    assert pushes == ["push", "push", "sleep", "push"]
    assert StageDone(ASSET, "optimize") in said
    assert not any(isinstance(message, Failed) for message in said)


def test_a_remote_that_stays_away_fails_the_stage(
    taken: Snapshot, dvc: Dvc, tmp_path: Path
) -> None:
    dvc.failing_pushes = 100
    said = _make(taken, _place(tmp_path), Order(JOB, {}), *_finished("embed", "optimize"))
    assert Failed(ASSET, "optimize", "dvc push: failed (the remote is away)") in said
    assert not any(isinstance(message, StageDone) for message in said)
    assert said[-1] == Finished(ASSET)


def test_a_dead_worker_hands_over_what_it_had_done(
    taken: Snapshot, dvc: Dvc, tmp_path: Path
) -> None:
    death = Died("its worker was ended by SIGKILL")
    script = (*_finished("embed")[:-1], Started(ASSET, "optimize"), death)
    said = _make(taken, _place(tmp_path), Order(JOB, {}), *script)
    assert ("push", ("embed",)) in dvc.calls
    assert StageDone(ASSET, "embed") in said
    assert said[-1] == death


def test_costs_go_along(taken: Snapshot, dvc: Dvc, tmp_path: Path) -> None:
    Scripted.script = _finished("embed")
    with Site(taken, _place(tmp_path)) as one:
        cost = suite_root(Scripted.setting.workspace, SUITE) / "out" / "cost" / ASSET
        cost.mkdir(parents=True)
        (cost / "embed.json").write_text("{}")
        said = list(one.make(Order(replace(JOB, stages=("embed",)), {})))
    (handed, _) = (message for message in said if isinstance(message, Handed))
    assert handed.costs == {"embed.json": b"{}"}


def test_shared_storage_is_found_by_the_token_and_used(
    taken: Snapshot, dvc: Dvc, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    place = _place(scratch, site.new_token(scratch))
    said = _make(taken, place, Order(JOB, {}), *_finished(*STAGES))
    (last,) = (m for m in said if isinstance(m, Handed) and not m.entries)
    assert last.log == b""  # the driver reads the file itself
    assert (scratch / "logs" / SUITE / f"{ASSET}.log").read_text() == "printed\n"


def test_the_clone_goes_away(taken: Snapshot, dvc: Dvc, tmp_path: Path) -> None:
    _make(taken, _place(tmp_path), Order(JOB, {}), *_finished("embed"))
    assert not Scripted.setting.workspace.exists()


def test_models_are_fetched_once_per_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dreamfusion_kit.stages import fetch

    made = make_workspace(tmp_path / "workspace", {ASSET: "a red ball"})
    calls: list[str] = []
    monkeypatch.setattr(fetch, "run", lambda workspace, suite, model: calls.append(model))
    monkeypatch.setattr(site, "run_stage", lambda stage, *_: calls.append(stage))
    setting = Setting(made.path, SUITE, "cpu", {})
    steps: Any = None
    for stage in ("embed", "optimize"):
        site.run_stage_with_models(stage, setting, ASSET, steps)
    assert calls == ["analytic", "clip", "embed", "optimize"]
