"""The contents of `.work`: checkpoints of optimisations and trainings that did not finish.

A run whose inputs changed starts in a new scratch folder and keeps the old one, so that
reverting the change resumes the old run. Only this module removes scratch folders.
"""

import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict  # pydantic accepts the one in `typing` from 3.12 on

from dreamfusion_kit import files
from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.optimize import lock

NOTE = "scratch.json"
_NAME = re.compile(r"[0-9a-f]{64}|toybox-[a-z-]+-[0-9a-f]{16}")
_UNKNOWN = "unknown"
_DAY_S = 86_400
_COLUMNS = ("asset", "suite", "stage", "size", "age", "state")


@with_config(ConfigDict(extra="forbid"))
class Note(TypedDict):
    """The owner of a scratch folder, stored in it as `scratch.json`."""

    suite: str
    asset: str
    stage: str


@dataclass(frozen=True)
class ScratchFolder:
    """A scratch folder; `age_s` is the time since the last write in it."""

    path: Path
    note: Note
    size_bytes: int
    age_s: float
    in_use: bool


def write_note(scratch: Path, *, suite: str, asset: str, stage: str) -> None:
    """Record in a scratch folder which asset and stage it belongs to."""
    files.write_json(scratch / NOTE, Note(suite=suite, asset=asset, stage=stage))


def find(
    workspace: Path, *, asset: str | None = None, older_than_days: float = 0.0
) -> list[ScratchFolder]:
    """Return the scratch folders in a workspace, oldest first.

    Args:
        workspace: Folder with `.work`.
        asset: Only those of this asset, in any suite.
        older_than_days: Only those with no write for longer than this.
    """
    found = [
        folder
        for folder in _all(workspace / ".work")
        if asset in (None, folder.note["asset"]) and folder.age_s >= older_than_days * _DAY_S
    ]
    return sorted(found, key=lambda folder: -folder.age_s)


def table(folders: list[ScratchFolder]) -> str:
    """Return one row per scratch folder."""
    rows = [_COLUMNS, *map(_row, folders)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def clear(folders: list[ScratchFolder]) -> list[ScratchFolder]:
    """Remove the folders that no running process holds; return them."""
    return [folder for folder in folders if _removed(folder)]


def size(num_bytes: int) -> str:
    """Return a human-readable size."""
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
    """Yield the folders that the kit itself made there, and nothing else."""
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
    except DreamFusionKitError:  # from an older version, or damaged: it can still be cleared
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
