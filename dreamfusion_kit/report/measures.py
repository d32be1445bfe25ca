"""Which numbers the gallery puts first, what each means, and how a number is written."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from dreamfusion_kit.report.content import Json

Unit = Literal["share", "score", "distance", "seconds", "memory", "count", "flag"]

DASH = "\N{EM DASH}"
"""Stands where a number has no meaning or was not measured."""


@dataclass(frozen=True)
class Measure:
    """A row of a table: `key` is its dotted place in a metrics file."""

    label: str
    key: str
    unit: Unit
    meaning: str


SUITE_MEASURES = (
    Measure(
        "R-Precision, colour",
        "r_precision.color",
        "share",
        "Share of views whose own caption is the nearest of all captions, by CLIP.",
    ),
    Measure(
        "R-Precision, geometry",
        "r_precision.geometry",
        "share",
        "The same for views without texture. They cannot show the colour that a caption names: "
        "where captions differ by it, true shapes score no better than chance.",
    ),
    Measure(
        "Right object, geometry",
        "object_precision.geometry",
        "share",
        "Share of textureless views that find their object among captions of plaster objects.",
    ),
    Measure(
        "Ceiling",
        "r_precision.ceiling",
        "share",
        "R-Precision of true renders of the same objects: the most this judge can give.",
    ),
    Measure(
        "Chance",
        "r_precision.chance",
        "share",
        "R-Precision of guessing: one over the number of captions.",
    ),
    Measure(
        "CLIP score",
        "clip_score",
        "score",
        "Mean cosine of a view and its own caption, from -1 to 1; higher is better.",
    ),
    Measure(
        "IoU",
        "iou",
        "score",
        "Volume shared with the true shape over the volume of both; 1 is a perfect fit.",
    ),
    Measure(
        "Chamfer distance",
        "chamfer",
        "distance",
        "Mean distance between the two surfaces, in scene units; lower is better.",
    ),
    Measure(
        "Front views",
        "front_views",
        "count",
        "Views per asset that the view classifier takes for the front, where an object has one.",
    ),
    Measure(
        "Front views, true",
        "true_front_views",
        "count",
        "The same on true renders. More fronts than these is the Janus problem.",
    ),
    Measure(
        "Closed meshes",
        "watertight",
        "share",
        "Share of meshes without holes: each edge joins two faces that agree on the outside.",
    ),
    Measure(
        "Components",
        "components",
        "count",
        "Connected pieces per mesh; what is more than the object has floats or is hidden inside.",
    ),
    Measure(
        "Seconds per asset",
        "seconds_per_asset",
        "seconds",
        "Wall-clock time from prompt to mesh, on the machine named with each asset.",
    ),
    Measure(
        "Peak memory",
        "peak_memory_bytes",
        "memory",
        "The most that any asset's process held: on a CPU with its libraries, on a GPU tensors.",
    ),
)

ASSET_MEASURES = (
    Measure("R-Precision, colour", "r_precision.color", "share", "Views that find the caption"),
    Measure("R-Precision, geometry", "r_precision.geometry", "share", "The same without texture"),
    Measure(
        "Right object, geometry", "object_precision.geometry", "share", "As one of 16 in plaster"
    ),
    Measure("CLIP score", "clip_score.color", "score", "Cosine of view and caption"),
    Measure("IoU", "geometry.iou", "score", "1 is a perfect fit"),
    Measure("Chamfer distance", "geometry.chamfer", "distance", "Scene units, lower is better"),
    Measure("Front views", "janus.front_views", "count", "Views that look like the front"),
    Measure("Front views, true", "janus.true_front_views", "count", "The same on true renders"),
    Measure("Closed mesh", "mesh.watertight", "flag", "Without holes"),
    Measure("Components", "mesh.components", "count", "Connected pieces of the mesh"),
)

GROUPS = (("all", ""), ("seen in training", "trained"), ("held out", "held_out"))
"""A suite's tables: heading, and the key that holds the table."""


def lookup(metrics: Mapping[str, Json], key: str) -> float | None:
    """Return the finite number at a dotted key; None for anything else that is there or not.

    A flag is 1 where it holds, 0 where it does not.
    """
    value: Json = metrics
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def written(value: float | None, unit: Unit) -> str:
    """Return a number for a reader: shares as percent, flags as words, all with useful digits."""
    if value is None:
        return DASH
    match unit:
        case "share":
            return f"{100 * value:.3g} %"
        case "score":
            return f"{value:.3f}"
        case "distance":
            return f"{value:.4f}"
        case "count":
            return f"{value:.3g}"
        case "flag":
            return "yes" if value else "no"
        case "seconds":
            return f"{value:,.0f} s" if value >= 10 else f"{value:.1f} s"
        case "memory":
            return f"{value / 2**30:.2f} GiB" if value >= 2**30 else f"{value / 2**20:.0f} MiB"


def groups(metrics: Mapping[str, Json]) -> list[tuple[str, Mapping[str, Json]]]:
    """Return the tables that a suite's metrics have, with their headings."""
    tables = [(heading, metrics.get(key) if key else metrics) for heading, key in GROUPS]
    return [(heading, table) for heading, table in tables if isinstance(table, Mapping)]


def rows(value: Json, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield every leaf of `value` as (dotted key, text), in the order given."""
    if isinstance(value, Mapping) and value:
        for name, part in value.items():
            yield from rows(part, f"{key}.{name}" if key else name)
    elif key:
        yield key, _text(value)


def _text(value: Json) -> str:
    match value:
        case None:
            return DASH
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}" if math.isfinite(value) else DASH
        case str():
            return value
        case int():
            return str(value)
        case list():
            return ", ".join(_item(part) for part in value) or DASH
        case Mapping():
            return DASH  # an empty one: `rows` takes the others apart


def _item(value: Json) -> str:
    """Return an entry of a list; one that is a list or a mapping itself gets brackets."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_item(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_item(part) for part in value) + "]"
    return _text(value)
