"""Runs a suite whose stages cost nothing: they write a few bytes that their inputs decide.

    python fake_suite.py SUITE [--jobs N] [--sleep SECONDS] [--asset ID]

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
from dreamfusion_kit.recipe.suite import resolve
from dreamfusion_kit.recipe.workspace import suite_root
from dreamfusion_kit.suites import driver, machine, plan
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
    options = parser.parse_args()
    outcome = driver.run_suite(
        Path(),
        options.suite,
        settings=machine.settings(Path(), options.suite, device="cpu", jobs=options.jobs),
        only=options.asset,
        run_stage=partial(run_stage, sleep_s=options.sleep),
        and_score=False,  # the real one reads real outputs
    )
    print(outcome.summary())
    sys.exit(bool(outcome.failed))


if __name__ == "__main__":
    front_door.run(main)
