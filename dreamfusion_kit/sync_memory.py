"""Whether `sync` has anything to do, answered before anything is imported that takes a while.

DVC runs `sync` at each `dvc repro`. Where no file that it reads has changed since it last
succeeded, by name, size and times of change, its answer is the same.
"""

import hashlib
import os
import platform
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PACKAGE = Path(__file__).parent
_MEMORY = Path(".work/in-sync")


def is_in_sync(folder: Path) -> bool:
    """Return whether `remember` was called in `folder`, and no file has changed since."""
    try:
        return (folder / _MEMORY).read_text(encoding="utf-8") == _stamp(folder)
    except (OSError, ValueError):
        return False


def remember(folder: Path) -> None:
    """Remember that the workspace or suite in `folder` is in sync with the code as it is."""
    memory = folder / _MEMORY
    with suppress(OSError):  # a file is missing, or nothing can be written: look again next time
        memory.parent.mkdir(parents=True, exist_ok=True)
        memory.write_text(_stamp(folder), encoding="utf-8")


def _stamp(folder: Path) -> str:
    digest = hashlib.sha256(f"{sys.executable} {platform.python_version()}\n".encode())
    for path in _read_by_sync(folder):
        if "__pycache__" not in path.parts:
            status = path.stat()
            # Tools set the time of modification back, that of the status they cannot.
            times = f"{status.st_mtime_ns} {status.st_ctime_ns}"
            # The answer holds from wherever the folder is named.
            name = path if path.is_relative_to(_PACKAGE) else os.path.relpath(path, folder)
            digest.update(f"{name} {status.st_size} {times}\n".encode())
    return digest.hexdigest()


def _read_by_sync(folder: Path) -> Iterator[Path]:
    """Yield every file that `sync` reads or writes in a workspace or in a suite's folder."""
    is_suite = (folder / "suite.yaml").is_file()
    workspace = folder / "../.." if is_suite else folder
    yield from sorted(path for path in _PACKAGE.rglob("*") if path.is_file())
    for folder_of in ("recipes", "protocols"):
        yield from sorted((workspace / folder_of).glob("*.yaml"))
    yield workspace / "params.yaml"
    yield from sorted((folder / "scenes").glob("*"))
    yield folder / "kit.json"
    yield folder / "dvc.yaml"
    if is_suite:
        yield folder / "suite.yaml"
        yield from sorted(path for path in folder.glob("assets/*/*") if path.suffix != ".lock")
