"""What `suite run` costs beyond its stages, which here write a few bytes or sleep.

    python benchmarks/suite_run.py 4 16 100                  assets of the suites
    python benchmarks/suite_run.py 4 16 --jobs 1 2 4         each with so many workers
    python benchmarks/suite_run.py 4 16 --before             beside plain `dvc repro`
    python benchmarks/suite_run.py --efficiency --jobs 1 2   workers whose stages sleep

Times are CPU seconds of the driver, its workers and DVC together, since other programs may use
the machine; `--efficiency` has to measure wall time.
"""

import argparse
import contextlib
import io
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import dvc_layout  # beside this file

from dreamfusion_kit.identity.stage_name import AssetStage, asset_stages
from dreamfusion_kit.recipe.workspace import suite_root
from dreamfusion_kit.suites import driver, dvc_commands, machine, plan, status
from dreamfusion_kit.suites.crew import Crew
from dreamfusion_kit.suites.worker import Setting, Steps
from dreamfusion_kit.workspace import import_prompts, init

STAGES = asset_stages(imported=False, refined=False)  # of each asset

SUITE = "bench"


def run_stage(
    stage: AssetStage, setting: Setting, asset: str, steps: Steps, *, sleep_s: float
) -> None:
    time.sleep(sleep_s)
    for name in plan.outputs(stage, asset):
        path = suite_root(setting.workspace, setting.suite) / name
        path = path if path.suffix else path / "file.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{stage} {asset}\n")


def make(workspace: Path, num_assets: int) -> None:
    """Make a workspace with a suite of `num_assets` assets."""
    os.chdir(workspace)
    init.init(Path("w"), "analytic")
    os.chdir("w")
    prompts = Path("prompts.json")
    prompts.write_text(json.dumps([f"thing number {index}" for index in range(num_assets)]))
    import_prompts.import_prompts(Path(), SUITE, prompts, recipe="analytic", seed=0)


def run(*, jobs: int, sleep_s: float = 0.0, and_score: bool = False) -> int:
    """Run the suite; return how many assets were made."""
    outcome = driver.run_suite(
        Path(),
        SUITE,
        crew=Crew(
            machine.settings(Path(), SUITE, device="cpu", jobs=str(jobs)),
            partial(run_stage, sleep_s=sleep_s),
        ),
        and_score=and_score,
    )
    assert not outcome.failed, outcome.summary()
    return len(outcome.made)


def record_score() -> None:
    """Record outputs of the suite's own two stages, as a run of them would."""
    root = suite_root(Path(), SUITE)
    for name in (f"metrics/{SUITE}.json", "out/assets.csv", "out/report/index.html"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{}\n")
    for stage in ("score", "report"):
        dvc_commands.commit(root, [stage], Path(".work/dvc.log"))


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Return the CPU and wall seconds of `work`, including the processes that it awaits."""
    before, wall = os.times(), time.monotonic()
    with contextlib.redirect_stderr(io.StringIO()):
        work()
    after = os.times()
    return sum(after[:4]) - sum(before[:4]), time.monotonic() - wall


def overhead(num_assets: int, jobs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), num_assets)
        fresh, _ = seconds(lambda: run(jobs=jobs))
        again, _ = seconds(lambda: run(jobs=jobs))
        record_score()
        noop, _ = seconds(lambda: run(jobs=jobs, and_score=True))
        table, _ = seconds(lambda: status.table(Path(), SUITE))
        os.chdir("/")
    per_stage = (fresh - again) / (num_assets * len(STAGES))
    print(
        f"{num_assets:6}  {jobs:7}  {fresh:9.1f}  {per_stage:11.3f}  {noop:8.2f}  {table:8.2f}",
        flush=True,
    )


def before(num_assets: int) -> None:
    """Measure plain `dvc repro` with the same suite, whose stages cost nothing here either."""
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), num_assets)
        root, environment = suite_root(Path(), SUITE), dvc_layout.free_stages(Path(folder))
        fresh, noop = (
            dvc_layout.cpu_seconds(("repro", "-q", "-R", "."), root, environment) for _ in range(2)
        )
        os.chdir("/")
    per_stage = (fresh - noop) / (num_assets * len(STAGES))
    print(f"{num_assets:6}  {'dvc':>7}  {fresh:9.1f}  {per_stage:11.3f}  {noop:8.2f}", flush=True)


def efficiency(num_assets: int, sleep_s: float, workers: Sequence[int]) -> None:
    ideal_s = num_assets * len(STAGES) * sleep_s
    print("workers  wall_s  of which asleep  efficiency")
    for jobs in workers:
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder), num_assets)
            dvc_commands.repro(
                suite_root(Path(), SUITE),
                ["kit", "fetch_analytic", "fetch_clip"],
                Path(".work/dvc.log"),
            )
            _, wall = seconds(lambda jobs=jobs: run(jobs=jobs, sleep_s=sleep_s))
            os.chdir("/")
        asleep = ideal_s / jobs
        print(f"{jobs:7}  {wall:6.1f}  {asleep:15.1f}  {asleep / wall:10.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("assets", nargs="*", type=int)
    parser.add_argument("--jobs", type=int, nargs="+", help="workers")
    parser.add_argument("--before", action="store_true", help="also plain `dvc repro`")
    parser.add_argument("--efficiency", action="store_true")
    parser.add_argument("--sleep", type=float, default=1.0, help="seconds per stage, asleep")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if options.assets:
        print("assets  workers    fresh_s  per stage_s   no-op_s  status_s   (CPU)")
    for num_assets in options.assets:
        if options.before:
            before(num_assets)
        for jobs in options.jobs or [2]:
            overhead(num_assets, jobs)
    if options.efficiency:
        efficiency(16, options.sleep, options.jobs or [1, 2])


if __name__ == "__main__":
    main()
