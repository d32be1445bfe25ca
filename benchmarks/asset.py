"""Time one asset of the default suite, from its text to its refined mesh, and take its peak memory.

    python benchmarks/asset.py red_mug --threads 2

It runs `cli.py fetch`, `embed`, `optimize`, `mesh` and `refine`, each in a process of its own, in a
temporary copy of the workspace, so that the workspace's own outputs are not touched.
"""

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
RECIPE = "magic3d-toybox"  # of the default suite's assets


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("asset")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        for name in ("cli.py", "params.yaml", "recipes", "dreamfusion_kit"):
            source = ROOT / name
            copy = shutil.copytree if source.is_dir() else shutil.copy
            copy(source, workspace / name)
        environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
        stages = ("embed", "optimize", "mesh", "refine")
        for command in (["fetch", RECIPE], *([stage, options.asset] for stage in stages)):
            started = time.monotonic()
            subprocess.run(
                [sys.executable, "cli.py", *command], cwd=workspace, env=environment, check=True
            )
            seconds = time.monotonic() - started
            print(f"{command[0]:10} {seconds:7.1f} s")
    # The largest of all child processes.
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"peak memory {peak_mib:.0f} MiB, {options.threads} threads")


if __name__ == "__main__":
    main()
