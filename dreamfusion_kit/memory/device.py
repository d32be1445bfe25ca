"""The device that an optimisation would run on, and how much memory it has."""

import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True)
class Device:
    """A GPU or the main memory; `libraries_bytes` of it are taken by this program."""

    name: str
    is_gpu: bool
    total_bytes: int
    free_bytes: int
    libraries_bytes: int


def first_device() -> Device:
    """Return the first GPU if there is one, else the main memory."""
    return describe_device(torch.device("cuda" if torch.cuda.is_available() else "cpu"))


def describe_device(device: torch.device) -> Device:
    """Return what `device` has; main memory ends at the limit of the container."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return Device(torch.cuda.get_device_name(device), True, total, free, 0)
    page = os.sysconf("SC_PAGE_SIZE")
    total = min(page * os.sysconf("SC_PHYS_PAGES"), _cgroup_limit())
    # macOS does not say what is free.
    free = page * os.sysconf("SC_AVPHYS_PAGES") if "SC_AVPHYS_PAGES" in os.sysconf_names else total
    # Kibibytes on Linux, bytes on macOS. At this point the program has only loaded its libraries.
    unit = 1 if sys.platform == "darwin" else 1024
    libraries = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Device("main memory", False, total, min(free, total), libraries)


def format_bytes(size: int) -> str:
    """Return a size in MiB below a GiB, else in GiB."""
    return f"{size / 2**20:.1f} MiB" if size < 2**30 else f"{size / 2**30:,.2f} GiB"


def _cgroup_limit() -> int:
    """Return the container's memory limit; without a container, a number beyond any machine."""
    try:
        return int(_CGROUP_LIMIT.read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such file, or "max"
        return sys.maxsize
