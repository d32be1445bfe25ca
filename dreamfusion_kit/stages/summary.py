"""A suite's results as a table for the terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dreamfusion_kit import files
from dreamfusion_kit.recipe.suite import caveat, load_suite, resolve
from dreamfusion_kit.stages.layout import SuiteLayout
from dreamfusion_kit.stages.results import asset_entry, cost_of

_COLUMNS = ("asset", "R-Prec. colour", "object (plaster)", "IoU", "Chamfer", "fronts", "seconds")


def table(workspace: Path, suite: str) -> str:
    """Return one row per asset, the suite's means, and the gallery's path."""
    layout = SuiteLayout(workspace, suite)
    metrics = files.read_json(layout.metrics, dict[str, Any], made_by="score")
    rows: list[tuple[str, ...]] = [_COLUMNS]
    notes: list[str] = []
    loaded = load_suite(workspace, suite)
    for asset in loaded.assets:
        own = layout.asset(asset)
        rows.append(_row(asset, asset_entry(own), cost_of(own).seconds))
        if text := caveat(resolve(workspace, suite, asset).recipe, loaded.evaluation):
            notes.append(f"{asset}: {text}")
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    precision = metrics["r_precision"]
    means = (
        f"R-Precision, colour {_number(precision['color'])} "
        f"(true renders {_number(precision['ceiling'])}, chance {_number(precision['chance'])})"
    )
    gallery = layout.report / "index.html"
    return "\n".join([*(line.rstrip() for line in lines), "", *notes, means, f"gallery: {gallery}"])


def _row(asset: str, entry: Mapping[str, Any], seconds: float) -> tuple[str, ...]:
    geometry = entry["geometry"] or {}
    objects = entry["object_precision"] or {}
    return (
        asset,
        _number(entry["r_precision"]["color"]),
        _number(objects.get("geometry")),
        _number(geometry.get("iou")),
        _number(geometry.get("chamfer")),
        _fronts(entry["janus"]),
        f"{seconds:.0f}",
    )


def _fronts(janus: Mapping[str, Any] | None) -> str:
    """Return how many views look like the front, of how many that should."""
    return "-" if janus is None else f"{janus['front_views']}/{janus['true_front_views']}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
