"""Jobs handed to workers whose messages are a script."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import pytest

from dreamfusion_kit.recipe.suite import Suite, load_suite
from dreamfusion_kit.suites.crew import Died, Worker
from dreamfusion_kit.suites.dispatch import work_off
from dreamfusion_kit.suites.job_queue import JobQueue
from dreamfusion_kit.suites.recorder import Recorder
from dreamfusion_kit.suites.worker import (
    Failed,
    Finished,
    Job,
    Message,
    Setting,
    StageDone,
    Started,
)

from .conftest import ROOT

SETTING = Setting(Path(), "default", "cpu", {})
DUCK = Job("yellow_duck", ("embed", "optimize", "mesh", "evaluate"), Path("duck.log"))
MUG = Job("red_mug", ("mesh", "evaluate"), Path("mug.log"))


class Scripted:
    """A crew that answers each job with the next script of its asset."""

    def __init__(self, scripts: dict[str, list[list[Message | Died]]], num_workers: int = 1):
        self.workers = [Worker(SETTING) for _ in range(num_workers)]
        self.given: list[Job] = []
        self._scripts = scripts

    def __enter__(self) -> "Scripted":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def idle(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.job is None]

    def give(self, worker: Worker, job: Job) -> None:
        worker.job = job
        self.given.append(job)

    def hear(self) -> Iterator[tuple[Worker, Message | Died]]:
        worker = next(worker for worker in self.workers if worker.job is not None)
        assert worker.job is not None
        for message in self._scripts[worker.job.asset].pop(0):
            yield worker, message


def _done(job: Job) -> list[Message | Died]:
    messages: list[Message | Died] = []
    for stage in job.stages:
        messages += [Started(job.asset, stage), StageDone(job.asset, stage)]
    return [*messages, Finished(job.asset)]


@pytest.fixture(scope="module")
def suite() -> Suite:
    return load_suite(ROOT, "default")


def _work(
    suite: Suite, crew: Scripted, *jobs: Job, refused: str = ""
) -> tuple[JobQueue, list[str]]:
    """Work the jobs off; return the queue, and the targets that were committed."""
    committed: list[str] = []

    def commit(assets: list[str], targets: list[str]) -> None:
        if refused in assets:
            raise OSError(28, "No space left on device")
        committed.extend(targets)

    queue = JobQueue(jobs)
    work_off(queue, suite, Recorder(commit), crew)  # type: ignore[arg-type]
    return queue, committed


def test_every_stage_of_every_job_is_committed(suite: Suite) -> None:
    crew = Scripted({job.asset: [_done(job)] for job in (DUCK, MUG)})
    queue, committed = _work(suite, crew, DUCK, MUG)
    assert queue.made == ["yellow_duck", "red_mug"]
    assert queue.failed == {}
    assert committed == [f"{stage}@{job.asset}" for job in (DUCK, MUG) for stage in job.stages]


def test_a_failed_stage_fails_its_asset_and_keeps_the_stages_before(suite: Suite) -> None:
    failing = [*_done(replace(DUCK, stages=("embed",)))[:-1],
               Failed(DUCK.asset, "optimize", "diverged"), Finished(DUCK.asset)]  # fmt: skip
    queue, committed = _work(
        suite, Scripted({DUCK.asset: [failing], MUG.asset: [_done(MUG)]}), DUCK, MUG
    )
    assert queue.failed == {"yellow_duck": "optimize: diverged"}
    assert queue.made == ["red_mug"]
    assert committed == ["embed@yellow_duck", "mesh@red_mug", "evaluate@red_mug"]


def test_a_dead_workers_job_continues_at_the_stage_that_it_left(suite: Suite) -> None:
    embedded: list[Message | Died] = [StageDone(DUCK.asset, "embed"), Died("its worker was ended")]
    rest = replace(DUCK, stages=("optimize", "mesh", "evaluate"))
    crew = Scripted({DUCK.asset: [embedded, _done(rest)]})
    queue, committed = _work(suite, crew, DUCK)
    assert crew.given == [DUCK, rest]
    assert queue.made == ["yellow_duck"]
    assert committed == [f"{stage}@yellow_duck" for stage in DUCK.stages]


def test_an_asset_that_kills_each_worker_fails_and_stops_no_other(suite: Suite) -> None:
    dying: list[list[Message | Died]] = [[Died("its worker was ended")] for _ in range(3)]
    crew = Scripted({DUCK.asset: dying, MUG.asset: [_done(MUG)]})
    queue, _ = _work(suite, crew, DUCK, MUG)
    assert queue.failed == {"yellow_duck": "embed: its worker was ended, 3 times"}
    assert queue.made == ["red_mug"]


def test_what_cannot_be_recorded_is_not_made(suite: Suite) -> None:
    crew = Scripted({job.asset: [_done(job)] for job in (DUCK, MUG)})
    queue, _ = _work(suite, crew, DUCK, MUG, refused="red_mug")
    assert queue.made == ["yellow_duck"]
    assert list(queue.failed) == ["red_mug"]
    assert "No space left" in queue.failed["red_mug"]


def test_each_idle_worker_gets_a_job_before_any_is_heard(suite: Suite) -> None:
    scripts = {job.asset: [_done(job)] for job in (DUCK, MUG)}
    crew = Scripted(scripts, num_workers=2)
    given_when_heard: list[int] = []
    hear = crew.hear

    def heard() -> Iterator[tuple[Worker, Message | Died]]:
        given_when_heard.append(len(crew.given))
        return hear()

    crew.hear = heard  # type: ignore[method-assign]
    _work(suite, crew, DUCK, MUG)
    assert given_when_heard == [2, 2]
