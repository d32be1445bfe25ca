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
    "tinycudann": "optional: another backend of hash grids on CUDA",
}


def describe(workspace: Path) -> str:
    """Return the description, one fact a line, with advice on anything that is missing."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    machine = provenance.machine(device)
    facts = [
        ("python", platform.python_version()),
        ("system", machine["system"]),
        ("cpu", f"{machine['cpu']} ({' '.join(machine['cpu_flags']) or 'no vector flags'})"),
        ("device", f"{machine['device']}, {machine['threads']} threads"),
        ("commit", _commit(provenance.git_commit(workspace))),
        *provenance.package_versions().items(),
        *((name, _optional(name, purpose)) for name, purpose in _OPTIONAL.items()),
        *_libraries(),
    ]
    width = max(len(name) for name, _ in facts)
    return "\n".join(f"{name:{width}}  {text}" for name, text in facts)


def missing_libraries() -> list[str]:
    """Return the Debian packages of the system libraries that the loader does not find."""
    return [
        package for name, package in _LIBRARIES.items() if ctypes.util.find_library(name) is None
    ]


def _commit(commit: provenance.Commit | None) -> str:
    if commit is None:
        return "none: not in a Git repository, or nothing is committed"
    return commit["hash"] + (" with changes" if commit["dirty"] else "")


def _optional(name: str, purpose: str) -> str:
    found = importlib.util.find_spec(name) is not None
    return "installed" if found else f"not installed ({purpose})"


def _libraries() -> list[tuple[str, str]]:
    missing = missing_libraries()
    if not missing:
        return [("libraries", "all that Open3D needs are there")]
    return [
        ("libraries", f"missing: {' '.join(missing)}"),
        ("", f"install them with: sudo apt-get install {' '.join(missing)}"),
    ]
