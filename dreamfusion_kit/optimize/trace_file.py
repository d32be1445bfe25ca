"""The digests of a run as a file beside its field, and where two such files part.

A row per step, a column per kind, 16 hexadecimal digits each: 100 bytes per step.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from dreamfusion_kit import files
from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.optimize.trace import KINDS, Digests

NAME = "trace/digests.tsv"  # in a field's folder
_HEADER = "\t".join(("step", *KINDS))
_ROW = re.compile(rf"(\d+)((?:\t[0-9a-f]{{16}}){{{len(KINDS)}}})")


@dataclass(frozen=True)
class Parting:
    """The first step at which two runs differ, and the kinds that differ there, in order."""

    step: int
    kinds: tuple[str, ...]

    def __str__(self) -> str:
        """Return the first kind, and those it took along."""
        first, *others = self.kinds
        along = f"; then {', '.join(others)}" if others else ""
        return f"step {self.step}: {first} differs first{along}"


def write(folder: Path, digests: Digests) -> None:
    """Write the digests into a field's folder."""
    rows = [
        "\t".join((str(step), *(f"{value % (1 << 64):016x}" for value in row)))
        for step, row in enumerate(digests.tolist())
    ]
    path = folder / NAME
    path.parent.mkdir()
    files.write_text(path, "\n".join([_HEADER, *rows]) + "\n")


def read(folder: Path) -> list[tuple[str, ...]]:
    """Return a row of digests per step.

    Raises:
        DreamFusionKitError: if the file is missing, damaged or of another version.
    """
    path = folder / NAME
    if not path.is_file():
        raise DreamFusionKitError(
            f"{path}: not there, expected the digests of every step, which older versions did "
            "not record; make the asset again"
        )
    header, *lines = path.read_text(encoding="utf-8", errors="replace").splitlines() or [""]
    found = [_ROW.fullmatch(line) for line in lines]
    rows = [tuple(row[2].split()) for step, row in enumerate(found) if row and row[1] == str(step)]
    if header != _HEADER or len(rows) != len(lines):
        raise DreamFusionKitError(
            f"{path}: found other lines than {len(KINDS)} digests per step, expected a file that "
            "this version's optimize stage wrote; make the asset again"
        )
    return rows


def parting(before: list[tuple[str, ...]], after: list[tuple[str, ...]]) -> Parting | None:
    """Return where two runs part; None if their common steps are equal and as many."""
    for step, (old, new) in enumerate(zip(before, after, strict=False)):
        kinds = tuple(kind for kind, a, b in zip(KINDS, old, new, strict=True) if a != b)
        if kinds:
            return Parting(step, kinds)
    shorter = min(len(before), len(after))
    return None if len(before) == len(after) else Parting(shorter, KINDS)
