"""A suite's results as a table for the terminal."""

from collections.abc import Mapping
from pathlib import Path

from dreamfusion_kit.evaluation.metric import Metric
from dreamfusion_kit.evaluation.metrics import metrics_of
from dreamfusion_kit.recipe.resolved import caveat, resolve_all
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.report.content import Json
from dreamfusion_kit.report.measures import lookup, written
from dreamfusion_kit.stages.layout import SuiteLayout
from dreamfusion_kit.stages.results import asset_entry, cost_of, judged, suite_metrics


def table(workspace: Path, suite: str) -> str:
    """Return one row per asset, the suite's means, and the gallery's path."""
    layout = SuiteLayout(workspace, suite)
    metrics = suite_metrics(layout)
    loaded = load_suite(workspace, suite)
    known = metrics_of(loaded.evaluation)
    shown = [metric for metric in known if "terminal" in metric.places]
    rows: list[tuple[str, ...]] = [("asset", *(metric.heading for metric in shown), "time")]
    notes: list[str] = []
    for asset, resolved in resolve_all(workspace, loaded).items():
        own = layout.asset(asset)
        numbers, cost = asset_entry(own, resolved.prompt).metrics, cost_of(own, resolved)
        cells = (written(numbers.get(metric.key), metric.unit) for metric in shown)
        rows.append((asset, *cells, written(None if cost is None else cost.seconds, "seconds")))
        if text := caveat(resolved, loaded.evaluation):
            notes.append(f"{asset}: {text}")
    means = [
        text
        for metric in known
        if "headline" in metric.places and (text := _mean(metrics.summary, metric))
    ]
    gallery = layout.report / "index.html"
    return "\n".join([*_aligned(rows), "", *notes, *means, judged(metrics), f"gallery: {gallery}"])


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    return [line.rstrip() for line in lines]


def _mean(summary: Mapping[str, Json], metric: Metric) -> str:
    """Return a suite's mean beside the values of true renders and guessing; empty without one."""
    value = lookup(summary, metric.key)
    if value is None:
        return ""
    beside = [
        f"{name} {written(found, metric.unit)}"
        for name, key in (("true renders", metric.reference), ("chance", metric.chance))
        if key is not None and (found := lookup(summary, key)) is not None
    ]
    text = f"{metric.label} {written(value, metric.unit)}"
    return f"{text} ({', '.join(beside)})" if beside else text
