"""The jobs of a run: waiting, failed and made."""

from collections.abc import Iterable
from dataclasses import replace

from dreamfusion_kit.identity.stage_name import AssetStage
from dreamfusion_kit.suites.worker import Job

_MAX_TRIES = 3  # for an asset whose worker died: killed, or out of memory


class JobQueue:
    """Jobs in the suite's order; a job whose worker died comes first again."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        """Hold the jobs, none of which has begun."""
        self.made: list[str] = []
        self.failed: dict[str, str] = {}
        self._waiting = list(jobs)
        self._tries: dict[str, int] = {}

    def __len__(self) -> int:
        """Return how many jobs wait."""
        return len(self._waiting)

    def take(self) -> Job | None:
        """Return the next job, or None."""
        if not self._waiting:
            return None
        job = self._waiting.pop(0)
        self._tries[job.asset] = self._tries.get(job.asset, 0) + 1
        return job

    def finish(self, asset: str) -> None:
        """Take note that an asset is done."""
        if asset not in self.failed:
            self.made.append(asset)

    def fail(self, asset: str, reason: str) -> None:
        """Take note that an asset could not be made; the first reason counts."""
        self.failed.setdefault(asset, reason)
        if asset in self.made:
            self.made.remove(asset)

    def put_back(self, job: Job, reason: str) -> bool:
        """Queue the job of a dead worker again; return whether it was queued.

        It is not queued if nothing was left to do, and fails if it was tried too often.
        """
        if job.asset in self.failed or not job.stages:
            self.finish(job.asset)
            return False
        if self._tries[job.asset] < _MAX_TRIES:
            self._waiting.insert(0, job)
            return True
        self.fail(job.asset, f"{job.stages[0]}: {reason}, {_MAX_TRIES} times")
        return False


def without(job: Job, stage: AssetStage) -> Job:
    """Return what is left of a job when a stage of it is done."""
    return replace(job, stages=tuple(left for left in job.stages if left != stage))
