"""What is left of a job when its worker dies."""

from dataclasses import replace
from pathlib import Path

from dreamfusion_kit.suites.job_queue import JobQueue, without
from dreamfusion_kit.suites.worker import Job

FIRST = Job("first", ("embed", "optimize", "mesh", "evaluate"), Path("first.log"))
SECOND = Job("second", ("mesh", "evaluate"), Path("second.log"))


def test_jobs_are_taken_in_their_order() -> None:
    queue = JobQueue([FIRST, SECOND])
    assert [queue.take(), queue.take(), queue.take()] == [FIRST, SECOND, None]


def test_a_finished_stage_is_not_taken_again() -> None:
    queue = JobQueue([FIRST, SECOND])
    taken = queue.take()
    assert taken is not None
    left = without(without(taken, "embed"), "optimize")
    assert queue.put_back(left, "its worker died")
    assert queue.take() == replace(FIRST, stages=("mesh", "evaluate"))


def test_after_three_deaths_the_asset_has_failed() -> None:
    queue = JobQueue([FIRST])
    for _ in range(2):
        assert queue.take() == FIRST
        assert queue.put_back(FIRST, "its worker was ended by SIGKILL")
    assert queue.take() == FIRST
    assert not queue.put_back(FIRST, "its worker was ended by SIGKILL")
    assert queue.take() is None
    assert queue.failed == {"first": "embed: its worker was ended by SIGKILL, 3 times"}
    assert queue.made == []


def test_a_death_after_the_last_stage_is_no_failure() -> None:
    queue = JobQueue([FIRST])
    queue.take()
    assert not queue.put_back(replace(FIRST, stages=()), "its worker died")
    assert queue.made == ["first"]


def test_a_death_after_a_failure_does_not_try_again() -> None:
    queue = JobQueue([FIRST])
    queue.take()
    queue.fail("first", "mesh: no surface")
    assert not queue.put_back(FIRST, "its worker died")
    assert queue.failed == {"first": "mesh: no surface"}
    assert queue.made == []


def test_the_first_reason_counts_and_a_failed_asset_is_not_made() -> None:
    queue = JobQueue([FIRST])
    queue.take()
    queue.finish("first")
    queue.fail("first", "dvc commit: failed")
    queue.fail("first", "something later")
    assert queue.failed == {"first": "dvc commit: failed"}
    assert queue.made == []
