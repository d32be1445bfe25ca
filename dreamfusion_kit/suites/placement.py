"""Where a suite's workers run: on this machine, on a Ray cluster, or as Slurm jobs."""

import re
from collections.abc import Sequence
from pathlib import Path

from dreamfusion_kit.errors import SuiteError, printable
from dreamfusion_kit.suites import machine
from dreamfusion_kit.suites.crew import Crew
from dreamfusion_kit.suites.ray_crew import RayCrew
from dreamfusion_kit.suites.slurm_crew import DEFAULT_JOBS, SlurmCrew

_OPTION = re.compile(r"([a-z][a-z_]*)=(\S+)")
_OURS = ("job_name",)


def crew(
    workspace: Path,
    suite: str,
    *,
    device: str,
    jobs: str,
    ray: str | None = None,
    slurm: bool = False,
    slurm_options: Sequence[str] = (),
) -> Crew | RayCrew | SlurmCrew:
    """Return the workers that the options of `suite run` ask for; none is started yet.

    Args:
        workspace: The workspace.
        suite: The suite.
        device: cpu, or cuda for one GPU per worker.
        jobs: How many workers at most, or auto.
        ray: The address of a Ray cluster, or local.
        slurm: Whether workers are Slurm jobs.
        slurm_options: NAME=VALUE by submitit's names.

    Raises:
        SuiteError: if the options do not fit together.
    """
    if ray is not None and slurm:
        raise SuiteError("--ray and --slurm: found both, expected one of them")
    if slurm_options and not slurm:
        first = printable(slurm_options[0])
        raise SuiteError(f"--slurm-option {first}: expected --slurm beside it")
    if ray is not None:
        count = None if jobs == "auto" else machine.count(jobs, 1)
        return RayCrew(workspace, suite, device=device, address=ray, jobs=count)
    if slurm:
        count = machine.count(jobs, DEFAULT_JOBS)
        options = dict(_option(text) for text in slurm_options)
        return SlurmCrew(workspace, suite, device=device, jobs=count, options=options)
    return Crew(machine.settings(workspace, suite, device=device, jobs=jobs))


def _option(text: str) -> tuple[str, str]:
    found = _OPTION.fullmatch(text)
    if found is None or found[1] in _OURS:
        raise SuiteError(
            f"--slurm-option {printable(text)}: expected NAME=VALUE by submitit's names, such as "
            "partition=gpu or time=600 (minutes)"
        )
    return found[1], found[2]
