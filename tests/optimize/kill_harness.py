"""Runs an optimisation in child processes, kills them at random moments, lets the last end.

    python kill_harness.py RECIPE.json DIRECTORY NUM_KILLS

It forks, so that the libraries are loaded once; each child is a process of its own and
dies by SIGKILL. DIRECTORY receives `whole/`, of a run that nobody disturbed, and
`killed/`, each with `work/` (the scratch) and `field.safetensors`.
"""

import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import dvc.repo  # noqa: F401  loaded here, not once per child
import pytest
import torch
import torch._dynamo  # optimisers load it when they are made
from safetensors.torch import save_file

from dreamfusion_kit.errors import CheckpointError
from dreamfusion_kit.guidance.view_prompts import guidance_prompts
from dreamfusion_kit.optimize.checkpoint import open_scratch
from dreamfusion_kit.optimize.loop import optimize
from dreamfusion_kit.optimize.metrics import StepMetrics
from dreamfusion_kit.optimize.monitor import CurveMonitor, Monitors
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.recipe.schema import Recipe

KEY = "0" * 64


class Reporter:
    """Writes the number of each finished step into a pipe."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def start(self, history: Sequence[StepMetrics], num_steps: int) -> None:
        self._report(len(history))

    def step(self, step: int, metrics: StepMetrics) -> None:
        self._report(step + 1)

    def note(self, message: str) -> None:
        print(message)

    def finish(self) -> None:
        pass

    def _report(self, done: int) -> None:
        os.write(self._descriptor, f"{done}\n".encode())


def run(recipe: Recipe, directory: Path, descriptor: int) -> None:
    device = torch.device("cpu")
    prompts = guidance_prompts("a red mug", recipe.guidance)
    prior = build_prior(recipe.prior, None, device)
    text = prior.encode_text(list(prompts.values()))
    with open_scratch(directory / "work", KEY) as scratch:
        monitor = Monitors(CurveMonitor(scratch.live), Reporter(descriptor))
        result = optimize(
            recipe,
            seed=0,
            prior=prior,
            text=text,
            prompts=prompts,
            scratch=scratch,
            device=device,
            monitor=monitor,
        )
        save_file(result.model.field.state_dict(), directory / "field.safetensors")


def start(recipe: Recipe, directory: Path) -> tuple[int, int]:
    """Fork a run; return its process and the end of the pipe that reports its steps."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        run(recipe, directory, writing)
        os._exit(0)
    os.close(writing)
    return process, reading


def kill_at_random(recipe: Recipe, directory: Path, chance: random.Random) -> int:
    """Start a run and kill it some steps on, anywhere within a step; return how far it got."""
    process, reading = start(recipe, directory)
    with os.fdopen(reading) as lines:
        first = int(lines.readline())
        last_one = recipe.optimize.num_steps - 1
        target = min(first + chance.randint(1, 9), last_one)
        done = first
        while done < target:
            done = int(lines.readline())
        # Somewhere in the next step or its checkpoint.
        time.sleep(chance.uniform(0, 0.02))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    return done


def refuse_a_second(recipe: Recipe, directory: Path) -> None:
    """While one run holds the scratch, a second one must be refused."""
    process, reading = start(recipe, directory)
    with os.fdopen(reading) as lines:
        lines.readline()
        with pytest.raises(CheckpointError, match=str(process)):
            run(recipe, directory, os.open(os.devnull, os.O_WRONLY))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def let_end(recipe: Recipe, directory: Path) -> int:
    """Start a run, wait for its end and return the step at which it began."""
    process, reading = start(recipe, directory)
    with os.fdopen(reading) as lines:
        first = int(lines.readline())
        lines.read()
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    return first


def main() -> None:
    recipe_path, directory, num_kills = sys.argv[1:]
    torch.set_num_threads(1)
    recipe = Recipe.model_validate_json(Path(recipe_path).read_text())
    whole, killed = Path(directory) / "whole", Path(directory) / "killed"
    whole.mkdir()
    killed.mkdir()
    let_end(recipe, whole)
    chance = random.Random(0)
    for _ in range(int(num_kills)):
        print("killed after step", kill_at_random(recipe, killed, chance), flush=True)
    refuse_a_second(recipe, killed)
    print("resumed at step", let_end(recipe, killed))


if __name__ == "__main__":
    main()
