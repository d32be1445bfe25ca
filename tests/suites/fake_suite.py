"""Runs a suite whose stages cost nothing: they write a few bytes that their inputs decide.

    python fake_suite.py SUITE [--jobs N] [--sleep SECONDS] [--asset ID]
                               [--ray ADDRESS | --slurm CLUSTER]

An asset whose prompt holds `(fails in STAGE)` fails there; one with `(sleeps in STAGE)` sleeps
there for a minute; one with `(dies in STAGE)` kills its worker.
"""

import argparse
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

from dreamfusion_kit import front_door
from dreamfusion_kit.errors import MeshError
from dreamfusion_kit.identity.stage_name import AssetStage
from dreamfusion_kit.recipe.resolved import resolve
from dreamfusion_kit.recipe.workspace import suite_root
from dreamfusion_kit.suites import driver, machine, plan
from dreamfusion_kit.suites.crew import Crew
from dreamfusion_kit.suites.ray_crew import RayCrew
from dreamfusion_kit.suites.slurm_crew import SlurmCrew
from dreamfusion_kit.suites.worker import Setting, Steps


def run_stage(
    stage: AssetStage, setting: Setting, asset: str, steps: Steps, *, sleep_s: float
) -> None:
    """Write the outputs of a stage."""
    prompt = resolve(setting.workspace, setting.suite, asset).prompt
    print(f"{stage} of {asset}")
    if f"(dies in {stage})" in prompt:
        os.kill(os.getpid(), signal.SIGKILL)
    if f"(fails in {stage})" in prompt:
        raise MeshError(f"{asset}: found no surface, expected one")
    time.sleep(60 if f"(sleeps in {stage})" in prompt else sleep_s)
    for name in plan.outputs(stage, asset):
        path = suite_root(setting.workspace, setting.suite) / name
        if not path.suffix:
            path = path / "file.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{stage} {prompt}\n")


def main() -> None:
    """Run the suite in the current folder's workspace."""
    parser = argparse.ArgumentParser()
    parser.add_argument("suite")
    parser.add_argument("--jobs", default="2")
    parser.add_argument("--sleep", type=float, default=0.0)
    parser.add_argument("--asset", action="append", default=[])
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

    fake = partial(fake_suite.run_stage, sleep_s=options.sleep)
    where = {"device": "cpu", "jobs": int(options.jobs), "run_stage": fake}
    if options.ray:
        return RayCrew(Path(), options.suite, address=options.ray, **where)
    if options.slurm:
        cluster = options.slurm
        return SlurmCrew(Path(), options.suite, cluster=cluster, check_every_s=1.0, **where)
    return Crew(machine.settings(Path(), options.suite, device="cpu", jobs=options.jobs), fake)


if __name__ == "__main__":
    front_door.run(main)
