"""dvc.lock as DVC wrote it: what each stage ran on, read without DVC.

Loading DVC and its index takes a second and grows with the suite; reading one asset's lock
takes two milliseconds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from dreamfusion_kit.errors import SuiteError

ValueT = TypeVar("ValueT")


@dataclass(frozen=True)
class Extent:
    """How large an output is: a file, or a folder with all that is in it."""

    num_files: int
    size_bytes: int

    def __str__(self) -> str:
        return f"{self.num_files} file{'s' * (self.num_files != 1)} of {self.size_bytes} bytes"


@dataclass(frozen=True)
class LockedStage:
    """What DVC recorded of a stage: hashes by path, parameters by file and key."""

    deps: Mapping[str, str]
    params: Mapping[str, Mapping[str, Any]]
    outs: Mapping[str, str]
    extents: Mapping[str, Extent]
    """Of the outputs, where the lock has them: DVC writes them always."""


def read_lock(path: Path) -> dict[str, LockedStage]:
    """Return the stages of the dvc.lock at `path` by name; none if it is missing or damaged.

    A stage that is not known to be up to date is made again, so nothing is lost.
    """
    stages = _stages(path)
    return {str(name): _stage(entry) for name, entry in stages.items() if isinstance(entry, dict)}


def check_lock(path: Path) -> None:
    """Refuse a damaged dvc.lock before the work of its stages, which DVC could not record in it.

    DVC does not write it at once: a full disk or a killed DVC can leave a part of it.

    Raises:
        SuiteError: if the file exists, and is not as DVC writes it.
    """
    stages = _stages(path)
    is_whole = bool(stages) and all(
        isinstance(entry, dict) and isinstance(entry.get("cmd"), str | list)
        for entry in stages.values()
    )
    if path.exists() and not is_whole:
        raise SuiteError(
            f"{path}: damaged, expected a lock as DVC writes it; restore it with "
            "`git checkout -- FILE`, or delete it, and what it recorded is made again"
        )


def _stages(path: Path) -> dict[Any, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        loaded = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    stages = loaded.get("stages") if isinstance(loaded, dict) else None
    return stages if isinstance(stages, dict) else {}


def _stage(entry: Mapping[str, Any]) -> LockedStage:
    params = _mapping(entry.get("params"))
    return LockedStage(
        deps=_hashes(entry.get("deps")),
        params={str(file): _mapping(values) for file, values in params.items()},
        outs=_hashes(entry.get("outs")),
        extents=_extents(entry.get("outs")),
    )


def _hashes(entries: object) -> dict[str, str]:
    return {str(entry.get("path")): str(entry.get("md5")) for entry in _mappings(entries)}


def _extents(entries: object) -> dict[str, Extent]:
    found = {
        str(entry.get("path")): (entry.get("nfiles", 1), entry.get("size"))
        for entry in _mappings(entries)
    }
    return {
        path: Extent(num_files, size_bytes)
        for path, (num_files, size_bytes) in found.items()
        if isinstance(num_files, int) and isinstance(size_bytes, int)
    }


def _mappings(entries: object) -> list[dict[Any, Any]]:
    if not isinstance(entries, list):
        return []
    return [entry for entry in entries if isinstance(entry, dict)]


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
