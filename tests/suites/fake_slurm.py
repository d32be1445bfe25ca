"""A Slurm of one machine: sbatch, srun, sacct, squeue and scancel that really run jobs.

Called by the name of the program (see `install`); its state is in the folder $FAKE_SLURM.
"""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

PROGRAMS = ("sbatch", "srun", "sacct", "squeue", "scancel")


def install(folder: Path) -> None:
    """Put the programs into `folder`."""
    folder.mkdir(parents=True)
    for name in PROGRAMS:
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" {name} "$@"\n')
        (folder / name).chmod(0o755)


def main() -> None:
    """Run the program named by the first argument."""
    program, arguments = sys.argv[1], sys.argv[2:]
    state = Path(os.environ["FAKE_SLURM"])
    match program:
        case "sbatch":
            print(f"Submitted batch job {_submit(state, Path(arguments[-1]))}")
        case "run":
            _run(state, arguments[0])
        case "srun":
            _step(arguments)
        case "scancel":
            _cancel(state, arguments[0])
        case "sacct" | "squeue":
            _list(state, [arguments[i + 1] for i, a in enumerate(arguments) if a == "-j"])
        case _:
            sys.exit(f"unknown program {program}")


def _submit(state: Path, script: Path) -> int:
    state.mkdir(parents=True, exist_ok=True)
    if any("--partition=full" in line for line in script.read_text().splitlines()):
        sys.exit("sbatch: error: Batch job submission failed: Queue is full")
    job = 1000
    while True:
        try:
            (state / f"{job}.sh").open("x").close()
            break
        except FileExistsError:
            job += 1
    (state / f"{job}.sh").write_text(script.read_text())
    _note(state / f"{job}.state", "RUNNING")
    supervisor = subprocess.Popen(
        [sys.executable, __file__, "run", str(job)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    (state / f"{job}.supervisor").write_text(str(supervisor.pid))
    while (state / "slow").exists():  # it takes its time to answer
        time.sleep(0.02)
    return job


def _run(state: Path, job: str) -> None:
    """Run a job to its end, and note how it ended."""
    variables = {
        "SLURM_JOB_ID": job, "SLURM_NTASKS": "1", "SLURM_JOB_NUM_NODES": "1",
        "SLURM_NODEID": "0", "SLURM_PROCID": "0", "SLURM_LOCALID": "0",
        "SLURM_JOB_NODELIST": "localhost",
    }  # fmt: skip
    process = subprocess.Popen(
        ["bash", str(state / f"{job}.sh")], env=os.environ | variables, start_new_session=True
    )
    _note(state / f"{job}.pid", str(process.pid))
    status = process.wait()
    path = state / f"{job}.state"
    if path.read_text() == "RUNNING":
        _note(path, "COMPLETED" if status == 0 else "FAILED")


def _step(arguments: list[str]) -> None:
    """Become the command, with its output in the files of --output and --error."""
    files: dict[str, str] = {}
    while arguments[0].startswith("--"):
        name = arguments.pop(0)
        if name in ("--output", "--error"):
            files[name] = arguments.pop(0)
    for descriptor, name in ((1, "--output"), (2, "--error")):
        path = files[name].replace("%j", os.environ["SLURM_JOB_ID"]).replace("%t", "0")
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), descriptor)
    os.execvp(arguments[0], arguments)


def _cancel(state: Path, job: str) -> None:
    _note(state / f"{job}.state", "CANCELLED by 0")
    pid = state / f"{job}.pid"
    while not pid.exists():  # submitted a moment ago
        time.sleep(0.01)
    with suppress(ProcessLookupError):
        os.killpg(int(pid.read_text()), signal.SIGKILL)


def _note(path: Path, text: str) -> None:
    """Write a file that others read at any moment: it is never there in part."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)


def _list(state: Path, jobs: list[str]) -> None:
    print("JobID|State|NodeList")
    for path in sorted(state.glob("*.state")):
        job = re.sub(r"\.state$", "", path.name)
        if not jobs or job in jobs:
            print(f"{job}|{path.read_text()}|localhost")


if __name__ == "__main__":
    main()
