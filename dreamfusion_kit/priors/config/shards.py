"""Indices of weights that are split over several files.

The libraries open whatever such an index names, by pickle if the name says so. Here an index
may name only safetensors files in its own folder, which are locked like every other file.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.config.json_file import VOCABULARY_BYTES, checked, read_object, where
from dreamfusion_kit.priors.printable import printable

INDEX_PATTERN = "*.index*.json"  # diffusers puts its variant behind: .safetensors.index.fp16.json
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.safetensors")


class _Index(BaseModel):
    model_config = ConfigDict(strict=True)
    weight_map: dict[str, str] = Field(min_length=1)


def check_indices(folder: Path, locked: Iterable[str] | None = None) -> None:
    """Raise WeightsError where an index in `folder` names anything but weights beside it.

    Args:
        folder: One component's folder; subfolders are not read.
        locked: Names of the files there that a lock pins; None for all that are there.
    """
    known = None if locked is None else set(locked)
    for path in sorted(folder.glob(INDEX_PATTERN)):
        if known is None or path.name in known:
            _check_index(path, known)


def _check_index(path: Path, known: set[str] | None) -> None:
    index = checked(_Index, read_object(path, limit=VOCABULARY_BYTES), where(path))
    for name in sorted(set(index.weight_map.values())):
        if not _PLAIN_NAME.fullmatch(name):
            raise WeightsError(
                f"{where(path)}: names {printable(repr(name), 80)}; expected safetensors "
                "files of its own folder; choose another source for this model"
            )
        if not (path.parent / name).is_file() or (known is not None and name not in known):
            raise WeightsError(
                f"{where(path)}: names {name}, which is not among the fetched files; expected "
                "every file that it names; add it to the source's `files` and fetch again"
            )
