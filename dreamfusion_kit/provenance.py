"""Where a result comes from: versions, commit, machine, settings, inputs.

Each stage writes its record under `out/run/`. It names no user, host, time or absolute path, so
that it may be published with the asset, and the same work on the same machine writes the same
bytes. Time and memory are kept separately, in `out/cost/`, which DVC does not track.
"""

import platform
import resource
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated

import torch
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict  # pydantic reads that of `typing` from 3.12 on

from dreamfusion_kit import instructions

_OURS = with_config(ConfigDict(extra="forbid", allow_inf_nan=False))

PACKAGES = (
    "dreamfusion-kit",
    "diffusers",
    "dvc",
    "numpy",
    "open3d",
    "safetensors",
    "tinycudann",
    "torch",
    "transformers",
    "triton",
)

# Flags that decide which kernels a CPU runs, and so the last bits of a result.
CPU_FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile")
_FIXED_FLAGS = ("avx2", "fma")  # those left where instructions are fixed


@_OURS
class Commit(TypedDict):
    """The code's commit; `dirty` where tracked files differ from it."""

    hash: str
    dirty: bool


@_OURS
class Machine(TypedDict):
    """The machine that computed the result.

    `cpu_flags` begins with "fixed" where instructions were fixed (see `instructions`).
    """

    system: str
    cpu: str
    cpu_flags: list[str]
    device: str
    threads: int


@_OURS
class Provenance(TypedDict):
    """The record of a result. `code` is the digest of the stage's code (identity.code).

    `inputs` are SHA-256 hashes by name.
    """

    python: str
    packages: dict[str, str]
    code: str
    machine: Machine
    inputs: dict[str, str]


@_OURS
class StageCost(TypedDict):
    """The time and memory that a stage took.

    `seconds` is wall-clock time, `commit` the workspace's. `peak_memory_bytes` is the peak of the
    process: on a GPU what torch's allocator gave to tensors, on a CPU all resident memory,
    libraries included.
    """

    seconds: Annotated[float, Field(ge=0, le=1e10)]
    peak_memory_bytes: Annotated[int, Field(ge=0, le=1 << 60)]
    commit: Commit | None


@dataclass(frozen=True)
class Cost:
    """The cost of an asset from text features to mesh: wall-clock time and peak memory."""

    seconds: float
    peak_memory_bytes: int


def record(*, device: torch.device, code: str, inputs: Mapping[str, str]) -> Provenance:
    """Return the record of a result made here, on `device`, by `code`, from `inputs`."""
    return Provenance(
        python=platform.python_version(),
        packages=package_versions(),
        code=code,
        machine=machine(device),
        inputs=dict(sorted(inputs.items())),
    )


def stage_cost(*, workspace: Path, device: torch.device, seconds: float) -> StageCost:
    """Return the cost of a stage that ran in this process for `seconds`."""
    return StageCost(
        seconds=round(seconds, 3),
        peak_memory_bytes=_peak_memory_bytes(device),
        commit=git_commit(workspace),
    )


def package_versions() -> dict[str, str]:
    """Return the versions of those PACKAGES that are installed."""
    found: dict[str, str] = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_commit(workspace: Path) -> Commit | None:
    """Return the workspace's commit, or None if it is not a git checkout or git is missing."""
    try:
        commit = _git(workspace, "rev-parse", "HEAD")
        changes = _git(workspace, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return None
    return Commit(hash=commit, dirty=bool(changes))


def machine(device: torch.device) -> Machine:
    """Describe the machine without naming it."""
    model, flags = _cpu(Path("/proc/cpuinfo"))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    known, fixed = (_FIXED_FLAGS, ["fixed"]) if instructions.are_fixed() else (CPU_FLAGS, [])
    return Machine(
        system=f"{sys.platform} {platform.machine()}",
        cpu=model,
        cpu_flags=[*fixed, *(flag for flag in known if flag in flags)],
        device=name,
        threads=torch.get_num_threads(),
    )


def _peak_memory_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:  # Linux; its `ru_maxrss` counts what the parent held before this program replaced it
        fields = dict(map(_field, Path("/proc/self/status").read_text().splitlines()))
        return 1024 * int(fields["VmHWM"].removesuffix("kB"))
    except (OSError, KeyError):  # other systems, and sandboxes that omit the line
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak


def _git(workspace: Path, *arguments: str) -> str:
    finished = subprocess.run(
        ["git", "-C", str(workspace), *arguments],
        capture_output=True,
        text=True,
        errors="surrogateescape",  # the names of files need not be UTF-8
        check=True,
    )
    return finished.stdout.strip()


def _cpu(cpuinfo: Path) -> tuple[str, frozenset[str]]:
    """Return the model name and flags of the first CPU, with a fallback on other systems."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown", frozenset()
    fields = dict(reversed([_field(line) for line in lines if ":" in line]))
    model = fields.get("model name", platform.processor() or "unknown")
    return model, frozenset(fields.get("flags", fields.get("Features", "")).split())


def _field(line: str) -> tuple[str, str]:
    name, value = line.split(":", 1)
    return name.strip(), value.strip()
