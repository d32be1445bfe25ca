"""Measure what `DREAMFUSION_INSTRUCTIONS=avx2` costs: a step with it and without, in turn.

    python benchmarks/instructions.py --recipe toybox --turns 3

Each turn runs benchmarks/trace.py twice, so that other load on the machine affects both alike.
Printed are the medians, and their ratio.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from dreamfusion_kit.instructions import AVX2, VARIABLE


def step_ms(arguments: list[str], value: str) -> float:
    """Return the milliseconds of a step in a process of its own."""
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("trace.py")), *arguments],
        env=os.environ | {VARIABLE: value, "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.strip().splitlines()[-1])["step_ms"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="toybox")
    parser.add_argument("--steps", default="60")
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    options = ["--recipe", arguments.recipe, "--steps", arguments.steps]
    times: dict[str, list[float]] = {"": [], AVX2: []}
    for _ in range(arguments.turns):
        for value, found in times.items():
            found.append(step_ms(options, value))
    free, fixed = (statistics.median(found) for found in times.values())
    print(json.dumps({"free_ms": free, "fixed_ms": fixed, "ratio": round(fixed / free, 2)}))


if __name__ == "__main__":
    main()
