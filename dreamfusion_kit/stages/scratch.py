"""What `.work` holds: the checkpoints of optimisations and trainings that did not finish.

A run whose inputs changed starts in a scratch of its own and leaves the old one behind, so
that going back goes on from there. Nothing removes it but this.
"""

import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict  # pydantic reads that of `typing` from 3.12 on

from dreamfusion_kit import files
from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.optimize import lock

NOTE = "scratch.json"
_NAME = re.compile(r"[0-9a-f]{64}|toybox-[a-z]+-[0-9a-f]{16}")
_UNKNOWN = "unknown"
_DAY_S = 86_400
_COLUMNS = ("asset", "suite", "stage", "size", "age", "state")


@with_config(ConfigDict(extra="forbid"))
class Note(TypedDict):
    """Whose scratch it is; it lies in the scratch as `scratch.json`."""

    suite: str
    asset: str
    stage: str


@dataclass(frozen=True)
class ScratchFolder:
    """A scratch; `age_s` is the time since anything in it was written."""

    path: Path
    note: Note
    size_bytes: int
    age_s: float
    in_use: bool


def write_note(scratch: Path, *, suite: str, asset: str, stage: str) -> None:
    """Say in a scratch whose it is."""
    files.write_json(scratch / NOTE, Note(suite=suite, asset=asset, stage=stage))


def find(
    workspace: Path, *, asset: str | None = None, older_than_days: float = 0.0
) -> list[ScratchFolder]:
    """Return the scratches in a workspace, the oldest first.

    Args:
        workspace: Folder with `.work`.
        asset: Only those of an asset, of whatever suite.
        older_than_days: Only those in which nothing was written for longer.
    """
    found = [
        folder
        for folder in _all(workspace / ".work")
        if asset in (None, folder.note["asset"]) and folder.age_s >= older_than_days * _DAY_S
    ]
    return sorted(found, key=lambda folder: -folder.age_s)


def table(folders: list[ScratchFolder]) -> str:
    """Return one row per scratch."""
    rows = [_COLUMNS, *map(_row, folders)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def clear(folders: list[ScratchFolder]) -> list[ScratchFolder]:
    """Remove those that no running process holds; return them."""
    return [folder for folder in folders if _removed(folder)]


def size(num_bytes: int) -> str:
    """Return a size for people."""
    if num_bytes < 1 << 20:
        return f"{num_bytes / (1 << 10):.0f} KiB"
    if num_bytes < 1 << 30:
        return f"{num_bytes / (1 << 20):.0f} MiB"
    return f"{num_bytes / (1 << 30):.1f} GiB"


def _removed(folder: ScratchFolder) -> bool:
    with lock.hold_if_free(folder.path / "lock") as free:
        if free:
            shutil.rmtree(folder.path, ignore_errors=True)
    return free


def _all(work: Path) -> Iterator[ScratchFolder]:
    """Yield what the kit itself made there, and nothing else."""
    if not work.is_dir():
        return
    for path in sorted(work.iterdir()):
        if _NAME.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            yield _describe(path)


def _describe(path: Path) -> ScratchFolder:
    sizes, times = [0], [path.stat().st_mtime]
    for file in path.rglob("*"):
        try:
            status = file.lstat()
        except FileNotFoundError:  # a running process works here
            continue
        sizes.append(status.st_size if file.is_file() else 0)
        times.append(status.st_mtime)
    age_s = max(0.0, time.time() - max(times))
    with lock.hold_if_free(path / "lock") as free:
        return ScratchFolder(path, _note(path), sum(sizes), age_s, in_use=not free)


def _note(path: Path) -> Note:
    try:
        return files.read_json(path / NOTE, Note, made_by="optimize")
    except DreamFusionKitError:  # of an older version, or damaged: it can be cleared all the same
        return Note(suite=_UNKNOWN, asset=_UNKNOWN, stage=_UNKNOWN)


def _row(folder: ScratchFolder) -> tuple[str, ...]:
    note = folder.note
    state = "in use" if folder.in_use else "free"
    names = (note["asset"], note["suite"], note["stage"])
    shown = (name.encode("unicode_escape").decode() for name in names)
    return (*shown, size(folder.size_bytes), _age(folder.age_s), state)


def _age(seconds: float) -> str:
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    if seconds < 2 * _DAY_S:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / _DAY_S:.0f} days"
