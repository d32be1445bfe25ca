"""Measure the share of a step that its digests take (optimize.trace).

    python benchmarks/trace.py
    python benchmarks/trace.py --recipe toybox-hash --device cuda

The recipe runs for some steps on its own prior, or on the analytic one with `--analytic`. Of
each step, the time in `Trace.record` and that of all else is taken, the device's queue emptied
before each reading. Printed are medians, and the share.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from dreamfusion_kit import provenance
from dreamfusion_kit.api import load_prior
from dreamfusion_kit.guidance.view_prompts import guidance_prompts
from dreamfusion_kit.optimize.checkpoint import open_scratch
from dreamfusion_kit.optimize.loop import optimize
from dreamfusion_kit.optimize.metrics import StepMetrics
from dreamfusion_kit.optimize.trace import Trace
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.schema import Recipe
from dreamfusion_kit.stages import devices

ROOT = Path(__file__).parents[1]


class Clock:
    """A monitor that takes the time of each step."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.steps: list[float] = []
        self.records: list[float] = []
        self.last = 0.0

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def start(self, history: Sequence[StepMetrics], num_steps: int) -> None:
        self.last = self.now()

    def step(self, step: int, metrics: StepMetrics) -> None:
        now = self.now()
        self.steps.append(now - self.last)
        self.last = now

    def note(self, message: str) -> None: ...

    def finish(self) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="toybox")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--analytic", action="store_true")
    arguments = parser.parse_args()
    device = devices.pick(arguments.device)
    recipe = load_recipe(ROOT / "recipes" / f"{arguments.recipe}.yaml")
    data = recipe.model_dump(mode="python")
    data["optimize"] |= {"num_steps": arguments.steps}
    if arguments.analytic:
        data["prior"] = load_recipe(ROOT / "recipes" / "analytic.yaml").prior.model_dump()
    clock = Clock(device)
    own = Trace.record

    def timed(self: Trace, *values: Any) -> None:
        started = clock.now()
        own(self, *values)
        clock.records.append(clock.now() - started)

    Trace.record = timed  # type: ignore[method-assign]
    recipe = Recipe.model_validate(data)
    prior = load_prior(recipe, arguments.device)
    prompts = guidance_prompts("a red mug", recipe.guidance)
    with tempfile.TemporaryDirectory() as folder, open_scratch(Path(folder), "0" * 64) as scratch:
        optimize(
            recipe,
            seed=0,
            prior=prior,
            text=prior.encode_text(list(prompts.values())),
            prompts=prompts,
            scratch=scratch,
            device=device,
            monitor=clock,
        )
    step, record = statistics.median(clock.steps[5:]), statistics.median(clock.records[5:])
    machine = provenance.machine(device)
    print(
        json.dumps(
            {
                "recipe": arguments.recipe,
                "device": machine["device"],
                "threads": machine["threads"],
                "step_ms": round(1e3 * step, 2),
                "digests_ms": round(1e3 * record, 3),
                "share_percent": round(100 * record / (step - record), 2),
            }
        )
    )


if __name__ == "__main__":
    main()
