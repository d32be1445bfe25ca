"""What a comparison shows: plain data and the paths of files, gathered by `suites.compare`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Outcome = Literal["better", "worse", "equal", "could be chance", "too few assets", ""]


@dataclass(frozen=True)
class Column:
    """One side of a pair. `note` says why its outputs are not shown, if they are not."""

    name: str
    prompt: str
    recipe: str
    seed: int | None
    identity: str
    glb: Path | None = None
    views: tuple[Path, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Row:
    """A measure of both sides as text. `interval` is of the change; empty without one.

    `is_quality` tells measures of which more or less is better from those that describe.
    """

    label: str
    meaning: str
    left: str
    right: str
    change: str
    interval: str = ""
    outcome: Outcome = ""
    is_quality: bool = True


@dataclass(frozen=True)
class Pair:
    """Two assets. `anchor` is unique on the page; `diff` is that of their recipes, by line."""

    anchor: str
    left: Column
    right: Column
    rows: tuple[Row, ...]
    diff: tuple[str, ...]
    same_mesh: bool = False


@dataclass(frozen=True)
class Comparison:
    """The whole page. `summary` is over pairs of one prompt; empty for two single assets.

    `left_out` are pairs that are not shown, since others differ more.
    """

    left: str
    right: str
    notes: tuple[str, ...]
    num_paired: int
    summary: tuple[Row, ...]
    pairs: tuple[Pair, ...]
    left_out: tuple[str, ...] = ()
