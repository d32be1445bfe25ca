"""How a number is looked up in a metrics file and formatted for a reader."""

import math
from collections.abc import Iterator, Mapping

from dreamfusion_kit.report.content import Json, Unit

DASH = "\N{EM DASH}"
"""Stands where a number has no meaning or was not measured."""


GROUPS = (("all", ""), ("seen in training", "trained"), ("held out", "held_out"))
"""A suite's tables: heading, and the key that holds the table."""


def lookup(metrics: Mapping[str, Json], key: str) -> float | None:
    """Return the finite number at a dotted key; None for anything else, or if the key is missing.

    A flag is 1 if it holds, 0 if it does not.
    """
    value: Json = metrics
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def written(value: float | None, unit: Unit) -> str:
    """Return a number as text: shares as percentages, flags as words, all with useful digits.

    A mean of flags that is neither 0 nor 1 is a share.
    """
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
        case "angle":
            return f"{value:.1f}°"
        case "flag":
            return f"{100 * value:.3g} %" if 0 < value < 1 else "yes" if value else "no"
        case "seconds":
            return f"{value:,.0f} s" if value >= 10 else f"{value:.1f} s"
        case "memory":
            return f"{value / 2**30:.2f} GiB" if value >= 2**30 else f"{value / 2**20:.0f} MiB"


def groups(summary: Mapping[str, Json]) -> list[tuple[str, Mapping[str, Json]]]:
    """Return the tables that a suite's summary has, with their headings."""
    tables = [(heading, summary.get(key) if key else summary) for heading, key in GROUPS]
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
            return DASH  # an empty one: `rows` flattens the others


def _item(value: Json) -> str:
    """Return an entry of a list as text; a nested list or mapping gets brackets."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_item(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_item(part) for part in value) + "]"
    return _text(value)
