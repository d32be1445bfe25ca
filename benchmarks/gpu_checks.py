"""Everything that only a GPU can show, in one run of some minutes.

    python benchmarks/gpu_checks.py
    python benchmarks/gpu_checks.py --only step --backends sd21 sdxl
    python benchmarks/gpu_checks.py --device cpu --tiny --only step triton --backends sd15

    step          a step of every family at full size with random weights, at most BAR times the
                  bare diffusion where most space is skipped (sds_step.py)
    memory        its peak against doctor's estimate, within TOLERANCE; reads what `step` wrote
    triton        a step without Triton: the hash grid in plain torch
    tests         the tests marked `gpu`
    toybox        images per second of the toybox's trainings and what bounds them, the pixel prior
                  at least IMAGES_PER_S (toybox_training.py)
    tinycudann    parity and a step with NVIDIA's hash grid, where `tinycudann` can be imported

Nothing is fetched, and no weights are read but the toybox's text encoder. Each check is a process
of its own, whose output is kept beside the numbers in the folder `--out`. The exit status is 1 if
one fails; a check that cannot run here says why. `--tiny` on a CPU only shows that the script runs.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from dreamfusion_kit import provenance
from dreamfusion_kit.stages import devices

ROOT = Path(__file__).parents[1]
BAR = 1.15
TOLERANCE = 0.05
ONE_BACKEND = "sd21"
IMAGES_PER_S = 10_000_000 / 600

Verdict = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class Outcome:
    """What became of a check: one line, and how long it took."""

    name: str
    verdict: Verdict
    said: str
    seconds: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks, print the table, write `gpu_checks.json`; return the exit status."""
    options = _options(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    outcomes: list[Outcome] = []
    for name in options.only or CHECKS:
        print(f"{name} ...", file=sys.stderr)
        start = time.perf_counter()
        verdict, said = CHECKS[name](options)
        outcomes.append(Outcome(name, verdict, said, time.perf_counter() - start))
        print(f"{name}: {verdict}, {said}", file=sys.stderr)
    record = {
        "machine": provenance.machine(devices.pick(options.device)),
        "packages": provenance.package_versions(),
        "outcomes": [asdict(outcome) for outcome in outcomes],
    }
    (options.out / "gpu_checks.json").write_text(json.dumps(record, indent=2) + "\n", "utf-8")
    print("| check | verdict | | s |\n|---|---|---|---:|")
    for outcome in outcomes:
        print(f"| {outcome.name} | {outcome.verdict} | {outcome.said} | {outcome.seconds:.0f} |")
    return int(any(outcome.verdict == "failed" for outcome in outcomes))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cpu, cuda or cuda:N.")
    parser.add_argument("--only", nargs="+", choices=list(CHECKS), help="All by default.")
    parser.add_argument("--backends", nargs="*", default=[], help="Of sds_step.py; all by default.")
    parser.add_argument("--rounds", type=int, default=7, help="Times that each step is run.")
    parser.add_argument("--threads", type=int, default=8, help="Torch's threads.")
    parser.add_argument("--tiny", action="store_true", help="Small models, to try the script.")
    parser.add_argument("--out", type=Path, default=Path("out/gpu_checks"))
    return parser.parse_args(arguments)


def step(options: argparse.Namespace) -> tuple[Verdict, str]:
    """Compare a step with its floor, family by family."""
    found = _sds_step(options, "step", options.backends)
    if isinstance(found, str):
        return "failed", found
    return judged_times(found)


def judged_times(results: Sequence[Mapping[str, Any]]) -> tuple[Verdict, str]:
    """Return whether each family's step is within BAR of its floor, once space is skipped."""
    slow = {row["backend"]: row["object_ratio"] for row in results if row["object_ratio"] > BAR}
    if not slow:
        worst = max(row["object_ratio"] for row in results)
        return "passed", f"{len(results)} families, the slowest {worst:.2f} times its floor"
    return "failed", "; ".join(f"{name} {ratio:.2f}" for name, ratio in slow.items())


def memory(options: argparse.Namespace) -> tuple[Verdict, str]:
    """Compare the peaks that `step` measured with doctor's estimates."""
    file = options.out / "step.json"
    if not file.is_file():
        return "skipped", "`step` has written no numbers"
    return judged_memory(json.loads(file.read_text(encoding="utf-8"))["results"])


def judged_memory(results: Sequence[Mapping[str, Any]]) -> tuple[Verdict, str]:
    """Return whether each family's peak is within TOLERANCE of its estimate."""
    errors = {row["backend"]: row["estimated_bytes"] / row["peak_bytes"] - 1 for row in results}
    wrong = {name: error for name, error in errors.items() if abs(error) > TOLERANCE}
    if not wrong:
        worst = max(errors.values(), key=abs)
        return "passed", f"{len(errors)} estimates, the worst {100 * worst:+.1f} %"
    return "failed", "; ".join(f"{name} {100 * error:+.1f} %" for name, error in wrong.items())


def triton(options: argparse.Namespace) -> tuple[Verdict, str]:
    """Take a step without Triton, whose kernels the hash grid uses on CUDA."""
    found = _sds_step(options, "without_triton", _one(options), "--without-triton")
    if isinstance(found, str):
        return "failed", found
    return "passed", _times(found)


def tests(options: argparse.Namespace) -> tuple[Verdict, str]:
    """Run the GPU tier."""
    if not options.device.startswith("cuda"):
        return "skipped", "they need a CUDA device"
    return _pytest(options, "tests")


def toybox(options: argparse.Namespace) -> tuple[Verdict, str]:
    """Train each of the toybox's models for some steps."""
    found = _benchmark(options, "toybox_training.py", "toybox", ())
    if isinstance(found, str):
        return "failed", found
    return judged_rates(found)


def judged_rates(results: Sequence[Mapping[str, Any]]) -> tuple[Verdict, str]:
    """Return whether the pixel prior sees ten million images in ten minutes."""
    rates = {row["model"]: row["images_per_s"] for row in results}
    said = "; ".join(
        f"{row['model']} {row['images_per_s']:.0f} images/s, bound by {row['bound']}"
        for row in results
    )
    return ("passed" if rates["prior"] >= IMAGES_PER_S else "failed"), said


def tinycudann(options: argparse.Namespace) -> tuple[Verdict, str]:
    """Compare NVIDIA's hash grid with the kit's, and time a step with it."""
    if importlib.util.find_spec("tinycudann") is None:
        return "skipped", "tinycudann is not installed"
    verdict, said = _pytest(options, "tinycudann_tests", "-k", "tinycudann")
    if verdict == "failed":
        return verdict, said
    found = _sds_step(options, "tinycudann", _one(options), "--field-backend", "tinycudann")
    if isinstance(found, str):
        return "failed", found
    return "passed", f"{said}; {_times(found)}"


CHECKS: Mapping[str, Callable[[argparse.Namespace], tuple[Verdict, str]]] = {
    "step": step,
    "memory": memory,
    "triton": triton,
    "tests": tests,
    "toybox": toybox,
    "tinycudann": tinycudann,
}


def _one(options: argparse.Namespace) -> list[str]:
    return options.backends[:1] or [ONE_BACKEND]


def _times(results: Sequence[Mapping[str, Any]]) -> str:
    return "; ".join(
        f"{row['backend']} {1e3 * row['object_step_s']:.0f} ms a step, {row['object_ratio']:.2f} "
        "times its floor"
        for row in results
    )


def _sds_step(
    options: argparse.Namespace, name: str, backends: Sequence[str], *more: str
) -> list[dict[str, Any]] | str:
    """Run sds_step.py; return its results, or how it failed."""
    return _benchmark(
        options, "sds_step.py", name, [*backends, *more, "--rounds", str(options.rounds)]
    )


def _benchmark(
    options: argparse.Namespace, script: str, name: str, arguments: Sequence[str]
) -> list[dict[str, Any]] | str:
    numbers = options.out / f"{name}.json"
    numbers.unlink(missing_ok=True)  # never judge what an earlier run has left
    command = [sys.executable, str(ROOT / "benchmarks" / script), *arguments]
    command += ["--device", options.device, "--threads", str(options.threads)]
    command += ["--json", str(numbers)]
    status, last = _run(command + (["--tiny"] if options.tiny else []), options.out / f"{name}.log")
    if status != 0:
        return f"exit status {status}: {last}"
    return json.loads(numbers.read_text(encoding="utf-8"))["results"]


def _pytest(options: argparse.Namespace, name: str, *more: str) -> tuple[Verdict, str]:
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-rs", *more]
    status, last = _run(command, options.out / f"{name}.log")
    return ("passed" if status == 0 else "failed"), last


def _run(command: Sequence[str], log: Path) -> tuple[int, str]:
    """Return a command's exit status and the last line that it printed."""
    with log.open("w", encoding="utf-8") as file:
        done = subprocess.run(command, cwd=ROOT, stdout=file, stderr=file, check=False)
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return done.returncode, next((line for line in reversed(lines) if line.strip()), "nothing")


if __name__ == "__main__":
    sys.exit(main())
