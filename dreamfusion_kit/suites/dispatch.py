"""Hands the jobs of a queue to workers, and acts on what they report, until all are done."""

from typing import assert_never

from dreamfusion_kit.recipe.suite import Suite
from dreamfusion_kit.suites.crew import Crew, Died, Worker
from dreamfusion_kit.suites.job_queue import JobQueue, without
from dreamfusion_kit.suites.plan import stage_target
from dreamfusion_kit.suites.recorder import Recorder
from dreamfusion_kit.suites.remote_crew import RemoteCrew
from dreamfusion_kit.suites.table import ProgressTable
from dreamfusion_kit.suites.worker import Failed, Finished, Message, Progress, StageDone, Started


def work_off(queue: JobQueue, suite: Suite, recorder: Recorder, crew: Crew | RemoteCrew) -> None:
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
