"""Runs a suite whose stages cost nothing: they write a few bytes that their inputs decide.

    python fake_suite.py SUITE [--jobs N] [--sleep SECONDS] [--asset ID] [--until FILE] [--real]
                               [--ray ADDRESS | --slurm CLUSTER]

An asset whose prompt holds `(fails in STAGE)` fails there; one with `(dies in STAGE)` kills its
worker. With --until every stage waits until FILE exists; an asset whose prompt holds `(held)`
waits for `FILE.held`. With --real the stages are the kit's own, and only an optimisation waits,
after its tenth step.
"""

import argparse
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from dreamfusion_kit import front_door
from dreamfusion_kit.errors import MeshError
from dreamfusion_kit.identity.stage_name import AssetStage
from dreamfusion_kit.recipe.resolved import resolve
from dreamfusion_kit.recipe.workspace import suite_root
from dreamfusion_kit.suites import driver, machine, plan
from dreamfusion_kit.suites.crew import Crew
from dreamfusion_kit.suites.ray_crew import RayCrew
from dreamfusion_kit.suites.site import run_stage_with_models
from dreamfusion_kit.suites.slurm_crew import SlurmCrew
from dreamfusion_kit.suites.worker import RunStage, Setting, Steps, run_stage

if TYPE_CHECKING:  # torch takes seconds to import
    from dreamfusion_kit.optimize.metrics import StepMetrics


HELD_AFTER_STEP = 10


def run_fake_stage(
    stage: AssetStage,
    setting: Setting,
    asset: str,
    steps: Steps,
    *,
    sleep_s: float,
    until: Path | None,
) -> None:
    """Write the outputs of a stage."""
    prompt = resolve(setting.workspace, setting.suite, asset).prompt
    print(f"{stage} of {asset}", flush=True)
    if f"(dies in {stage})" in prompt:
        os.kill(os.getpid(), signal.SIGKILL)
    if f"(fails in {stage})" in prompt:
        raise MeshError(f"{asset}: found no surface, expected one")
    time.sleep(sleep_s)
    if until is not None:
        wait_for(until.with_name(f"{until.name}.held") if "(held)" in prompt else until)
    for name in plan.outputs(stage, asset):
        path = suite_root(setting.workspace, setting.suite) / name
        if not path.suffix:
            path = path / "file.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{stage} {prompt}\n")


def run_real_stage(
    stage: AssetStage,
    setting: Setting,
    asset: str,
    steps: Steps,
    *,
    own: RunStage,
    until: Path | None,
) -> None:
    """Run the kit's own stage."""
    if until is not None:
        report = steps.step

        def step(number: int, metrics: "StepMetrics") -> None:
            report(number, metrics)
            if number == HELD_AFTER_STEP:
                wait_for(until)

        steps.step = step
    own(stage, setting, asset, steps)


def wait_for(path: Path) -> None:
    """Wait until a file exists."""
    while not path.exists():
        time.sleep(0.02)


def main() -> None:
    """Run the suite in the current folder's workspace."""
    parser = argparse.ArgumentParser()
    parser.add_argument("suite")
    parser.add_argument("--jobs", default="2")
    parser.add_argument("--sleep", type=float, default=0.0)
    parser.add_argument("--asset", action="append", default=[])
    parser.add_argument("--until", type=Path)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--ray")
    parser.add_argument("--slurm")
    options = parser.parse_args()
    outcome = driver.run_suite(
        Path(),
        options.suite,
        crew=crew(options),
        only=options.asset,
        and_score=False,  # the real one reads real outputs
    )
    print(outcome.summary())
    sys.exit(bool(outcome.failed))


def crew(options: argparse.Namespace) -> Crew | RayCrew | SlurmCrew:
    """Return the workers that the options ask for."""
    import fake_suite  # not __main__, whose functions another node could not import

    until = options.until and options.until.resolve()
    fake = partial(fake_suite.run_fake_stage, sleep_s=options.sleep, until=until)
    if options.real:
        own = run_stage_with_models if options.ray or options.slurm else run_stage
        fake = partial(fake_suite.run_real_stage, own=own, until=until)
    where = {"device": "cpu", "jobs": int(options.jobs), "run_stage": fake}
    if options.ray:
        return RayCrew(Path(), options.suite, address=options.ray, **where)
    if options.slurm:
        cluster = options.slurm
        return SlurmCrew(Path(), options.suite, cluster=cluster, check_every_s=1.0, **where)
    return Crew(machine.settings(Path(), options.suite, device="cpu", jobs=options.jobs), fake)


if __name__ == "__main__":
    front_door.run(main)
