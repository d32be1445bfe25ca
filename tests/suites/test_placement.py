"""Which workers the options of `suite run` ask for."""

from pathlib import Path
from typing import Any

import pytest

from dreamfusion_kit.errors import SuiteError
from dreamfusion_kit.suites.crew import Crew
from dreamfusion_kit.suites.placement import crew
from dreamfusion_kit.suites.ray_crew import RayCrew
from dreamfusion_kit.suites.slurm_crew import SlurmCrew


def chosen(**options: Any) -> Crew | RayCrew | SlurmCrew:
    return crew(Path(), "default", **{"device": "cpu", "jobs": "auto", **options})


def test_each_option_has_its_workers() -> None:
    assert type(chosen()) is Crew
    assert len(chosen(jobs="3").workers) == 3
    assert type(chosen(ray="local")) is RayCrew
    assert type(chosen(slurm=True, slurm_options=["partition=gpu", "time=600"])) is SlurmCrew


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"ray": "local", "slurm": True}, "--ray and --slurm: found both"),
        ({"slurm_options": ["time=3"]}, "--slurm-option time=3: expected --slurm beside it"),
        ({"slurm": True, "slurm_options": ["time"]}, "--slurm-option time: expected NAME=VALUE"),
        ({"slurm": True, "slurm_options": ["a=b\nc=d"]}, r"--slurm-option a=b\\nc=d: expected NAM"),
        ({"slurm": True, "slurm_options": ["job_name=x"]}, "expected NAME=VALUE"),
        ({"ray": "local", "jobs": "none"}, "--jobs none: expected a number"),
    ],
)
def test_what_does_not_fit_together_is_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(SuiteError, match=f"^(.*){problem}"):
        chosen(**options)
