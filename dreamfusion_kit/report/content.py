"""What a gallery shows: plain data and the paths of files, gathered by the report stage."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

# What `json.load` returns. Any stands for Json again: a type that names itself cannot be
# checked at run time.
Json: TypeAlias = bool | int | float | str | list[Any] | Mapping[str, Any] | None


Unit = Literal["share", "score", "distance", "angle", "count", "flag", "seconds", "memory"]


@dataclass(frozen=True)
class Measure:
    """A row of the page's tables.

    `key` is its dotted place in a suite's summary and its name in an asset's numbers; `short`
    the label on a card. `chance` and `reference` are the keys of what guessing and what true
    renders give.
    """

    key: str
    label: str
    short: str
    unit: Unit
    meaning: str
    is_headline: bool = False
    is_on_card: bool = False
    chance: str | None = None
    reference: str | None = None


@dataclass(frozen=True)
class View:
    """The object from one side; `azimuth_deg` 0 is its front."""

    azimuth_deg: float
    color: Path
    textureless: Path
    normals: Path


@dataclass(frozen=True)
class Preview:
    """The field as it looked after `step` steps of its optimisation."""

    step: int
    picture: Path


@dataclass(frozen=True)
class Curve:
    """A quantity over the optimisation: a tab-separated table, `step` then value."""

    name: str
    table: Path


@dataclass(frozen=True)
class AssetReport:
    """One asset.

    `numbers` has what was measured by the keys of the suite's measures, `details` whatever
    else is worth reading, `provenance` its run records by stage; all may lack anything and
    hold None. `recipe_yaml` is the resolved recipe, `identity` the hash of all that decides
    the result. `downloads` are offered beside the page under their own names; name the GLB
    among them too. `caveat` is what must be known to read the scores. A still from the front
    stands in where there is no `turntable`.
    """

    id: str
    prompt: str
    seed: int
    identity: str
    recipe_name: str
    recipe_yaml: str
    glb: Path
    held_out: bool | None = None
    numbers: Mapping[str, float | None] = field(default_factory=dict[str, float | None])
    details: Mapping[str, Json] = field(default_factory=dict[str, Json])
    provenance: Mapping[str, Json] = field(default_factory=dict[str, Json])
    turntable: Path | None = None
    views: tuple[View, ...] = ()
    previews: tuple[Preview, ...] = ()
    curves: tuple[Curve, ...] = ()
    downloads: tuple[Path, ...] = ()
    caveat: str = ""

    def __post_init__(self) -> None:
        """Refuse an id that is no asset's: it becomes a folder and an anchor."""
        if not re.fullmatch(r"[a-z0-9_]+", self.id):
            raise ValueError(f"asset id {self.id!r}: expected a-z, 0-9 and _")


@dataclass(frozen=True)
class SuiteReport:
    """A suite: assets and measures appear in the order given.

    `summary` has the suite's means by the measures' dotted keys, and the same again for each
    group of assets. `judged` says in a sentence by what the views were judged, or that they
    were not.
    """

    name: str
    judged: str
    summary: Mapping[str, Json]
    measures: tuple[Measure, ...]
    assets: tuple[AssetReport, ...]
