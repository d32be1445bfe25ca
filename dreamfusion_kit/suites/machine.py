"""How many workers a machine has room for, and each worker's share of it."""

import os
import shutil
import subprocess
from pathlib import Path

from dreamfusion_kit.errors import SuiteError
from dreamfusion_kit.suites.worker import Setting


def settings(workspace: Path, suite: str, *, device: str, jobs: str) -> list[Setting]:
    """Return one setting per worker: its share of the cores, or one of the GPUs.

    A result depends on the number of threads, so OMP_NUM_THREADS is respected if set.

    Args:
        workspace: The workspace.
        suite: The suite to make.
        device: cpu, or cuda for one GPU per worker.
        jobs: How many workers; auto is one per GPU, or one per core.

    Raises:
        SuiteError: if `jobs` is neither a count nor auto.
    """
    gpus = _gpus() if device == "cuda" else []
    cores = _cores()
    number = count(jobs, len(gpus) if device == "cuda" else cores)
    threads = os.environ.get("OMP_NUM_THREADS", str(max(1, cores // number)))
    shared = {"OMP_NUM_THREADS": threads}
    # Waiting threads spin on cores that the other workers need.
    shared |= (
        {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "passive")} if number > 1 else {}
    )
    return [
        Setting(
            workspace,
            suite,
            device,
            shared | ({"CUDA_VISIBLE_DEVICES": gpus[index % len(gpus)]} if gpus else {}),
        )
        for index in range(number)
    ]


def count(jobs: str, room: int) -> int:
    """Return the number that `--jobs` names; auto is `room`."""
    if jobs == "auto":
        return max(1, room)
    if jobs.isascii() and jobs.isdecimal() and 1 <= int(jobs) <= 1024:
        return int(jobs)
    raise SuiteError(f"--jobs {jobs}: expected a number from 1 to 1024, or auto")


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name for name in visible.split(",") if name]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    number = sum(line.startswith("GPU ") for line in listed.stdout.splitlines())
    return [str(index) for index in range(number)]
