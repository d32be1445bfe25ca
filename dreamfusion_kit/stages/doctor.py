"""What this machine has: versions, device, optional packages, system libraries."""

import ctypes.util
import importlib.util
import platform
from pathlib import Path

import torch

from dreamfusion_kit import provenance

# The libraries that Open3D links against: the loader's name and the Debian package.
_LIBRARIES = {
    "usb-1.0": "libusb-1.0-0",
    "GL": "libgl1",
    "gomp": "libgomp1",
    "X11": "libx11-6",
}
_OPTIONAL = {
    "tinycudann": "another backend of hash grids on CUDA; build it from its sources with a CUDA "
    "toolkit: the recipes run without it",
}


def describe(workspace: Path) -> str:
    """Return the description, one fact a line, with advice on anything that is missing."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    machine = provenance.machine(device)
    lines = [
        f"python      {platform.python_version()}",
        f"system      {machine['system']}",
        f"cpu         {machine['cpu']} ({' '.join(machine['cpu_flags']) or 'no vector flags'})",
        f"device      {machine['device']}, {machine['threads']} threads",
        f"commit      {_commit(provenance.git_commit(workspace))}",
        *(f"{name:11} {version}" for name, version in provenance.package_versions().items()),
        *(_optional(name, purpose) for name, purpose in _OPTIONAL.items()),
        *_libraries(),
    ]
    return "\n".join(lines)


def missing_libraries() -> list[str]:
    """Return the Debian packages of the system libraries that the loader does not find."""
    return [
        package for name, package in _LIBRARIES.items() if ctypes.util.find_library(name) is None
    ]


def _commit(commit: provenance.Commit | None) -> str:
    if commit is None:
        return "not a git checkout"
    return commit["hash"] + (" with changes" if commit["dirty"] else "")


def _optional(name: str, purpose: str) -> str:
    found = importlib.util.find_spec(name) is not None
    return f"{name:11} {'installed' if found else f'not installed ({purpose})'}"


def _libraries() -> list[str]:
    missing = missing_libraries()
    if not missing:
        return ["libraries   all that Open3D needs are there"]
    return [
        f"libraries   missing: {' '.join(missing)}",
        f"            install them with: sudo apt-get install {' '.join(missing)}",
    ]
