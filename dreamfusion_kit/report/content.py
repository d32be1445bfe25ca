"""What a gallery shows: plain data and the paths of files, gathered by the report stage."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

# What `json.load` returns. `Any` stands for a nested Json: a recursive type cannot be checked
# at run time.
Json: TypeAlias = bool | int | float | str | list[Any] | Mapping[str, Any] | None


Unit = Literal["share", "score", "distance", "angle", "count", "flag", "seconds", "memory"]


@dataclass(frozen=True)
class Measure:
    """A row of the page's tables.

    `key` is its dotted place in a suite's summary and its name in an asset's numbers; `short`
    is the label on a card. `chance` and `reference` are the keys of the values that guessing
    and true renders reach.
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

    `numbers` has the measured values by the keys of the suite's measures, `details` other
    values worth reading, `provenance` its run records by stage; any entry may be missing or
    None. `recipe_yaml` is the resolved recipe, `identity` the hash of everything that
    determines the result. `downloads` are offered beside the page under their own names; list
    the GLB among them too. `imported` is the file that the mesh comes from, if it was not made
    here. `caveat` is a warning to show beside the scores; `warnings` are those of the
    optimisation, beside its curves. Without a `turntable`, a still from the front is shown.
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
    warnings: tuple[str, ...] = ()
    downloads: tuple[Path, ...] = ()
    caveat: str = ""
    imported: str | None = None

    def __post_init__(self) -> None:
        """Refuse an invalid asset id, since it becomes a folder and an anchor."""
        if not re.fullmatch(r"[a-z0-9_]+", self.id):
            raise ValueError(f"asset id {self.id!r}: expected a-z, 0-9 and _")


@dataclass(frozen=True)
class SuiteReport:
    """A suite: assets and measures appear in the order given.

    `summary` has the suite's means by the measures' dotted keys, and again for each group of
    assets. `judged` is a sentence that names the judge of the views, or says that there was
    none.
    """

    name: str
    judged: str
    summary: Mapping[str, Json]
    measures: tuple[Measure, ...]
    assets: tuple[AssetReport, ...]
