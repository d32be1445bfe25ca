"""The results of a suite: means over its assets, and a row for each of them.

A number without a meaning is `None`: one that needs a judge if the protocol names none, one
that needs a true shape for a prompt that has none, a mean over no assets.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dreamfusion_kit.errors import EvaluationError
from dreamfusion_kit.evaluation.entry import (
    FORMAT_VERSION,
    AssetEntry,
    AssetRow,
    CostRow,
    Numbers,
    SuiteCost,
    SuiteMetrics,
)
from dreamfusion_kit.evaluation.metric import Metric
from dreamfusion_kit.evaluation.metrics import METRICS
from dreamfusion_kit.evaluation.r_precision import wilson_interval

DECIMALS = 4

Json = dict[str, Any]  # the values are what `json` writes


@dataclass(frozen=True)
class Measured:
    """One asset of a suite with all its numbers, those among seeds included."""

    entry: AssetEntry
    numbers: Numbers
    recipe: str
    identity: str
    seed: int


def suite_metrics(
    suite: str,
    measured: Sequence[Measured],
    *,
    confidence_level: float,
    code: Mapping[str, str],
    machine: Mapping[str, Any] | None,
    metrics: Sequence[Metric] = METRICS,
) -> SuiteMetrics:
    """Return a suite's metrics, rounded for stable diffs.

    The top of `summary` covers all assets; `trained` and `held_out` repeat the table for the
    toybox pairs that training saw and never saw, each if the suite has any.

    Args:
        suite: Its name.
        measured: Every asset, in the suite's order; all by one judge and one pool.
        confidence_level: Coverage of the intervals.
        code: Digests of the stages' code, as far as known.
        machine: The machine that computed, if it is known and the same for all.
        metrics: The metrics to report.
    """
    if not measured:
        raise EvaluationError(
            f"suite {suite}: found no assets, expected one or more; add one to it"
        )
    groups = {
        "trained": [one for one in measured if one.entry.held_out is False],
        "held_out": [one for one in measured if one.entry.held_out is True],
    }
    tables = {
        name: _table(group, metrics, confidence_level) for name, group in groups.items() if group
    }
    first = measured[0].entry
    return SuiteMetrics(
        format_version=FORMAT_VERSION,
        suite=suite,
        judge=first.judge,
        other_judges={name: verdict.judge for name, verdict in first.other_judges.items()},
        vqa=first.vqa,
        caption_pool=first.caption_pool,
        code=dict(code),
        machine=None if machine is None else dict(machine),
        summary=_table(measured, metrics, confidence_level) | tables,
        assets={
            one.entry.asset: AssetRow(
                prompt=one.entry.prompt,
                recipe=one.recipe,
                identity=one.identity,
                seed=one.seed,
                metrics=_rounded(one.numbers),
                views=one.entry.views,
                other_judges={
                    name: verdict.views for name, verdict in one.entry.other_judges.items()
                },
            )
            for one in measured
        },
    )


def suite_cost(suite: str, costs: Mapping[str, CostRow]) -> SuiteCost:
    """Return the time and memory that the assets took; `costs` has at least one asset."""
    seconds = [cost.seconds for cost in costs.values()]
    return SuiteCost(
        format_version=FORMAT_VERSION,
        suite=suite,
        seconds_per_asset=round(sum(seconds) / len(seconds), DECIMALS),
        peak_memory_bytes=max(cost.peak_memory_bytes for cost in costs.values()),
        assets=dict(costs),
    )


def dumped(metrics: SuiteMetrics | SuiteCost) -> str:
    """Return the file's text: indented, keys sorted, but each asset on a line of its own."""
    data = metrics.model_dump(mode="json")
    assets = data.pop("assets")
    head = json.dumps(data, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    rows = [
        f"    {json.dumps(name)}: "
        + json.dumps(row, sort_keys=True, allow_nan=False, ensure_ascii=False)
        for name, row in sorted(assets.items())
    ]
    table = '  "assets": {\n' + ",\n".join(rows) + "\n  }" if rows else '  "assets": {}'
    return "{\n" + table + ",\n" + head.removeprefix("{\n") + "\n"


def table_row(one: Measured, metrics: Sequence[Metric] = METRICS) -> Json:
    """Return one asset as a flat row of the suite's CSV; the keys are the same for all."""
    entry = one.entry
    known: Json = {"asset": entry.asset, "prompt": entry.prompt, "held_out": entry.held_out}
    return known | {
        metric.column: value
        for metric, value in zip(
            metrics, _rounded([one.numbers.get(metric.key) for metric in metrics]), strict=True
        )
    }


def _table(measured: Sequence[Measured], metrics: Sequence[Metric], confidence: float) -> Json:
    table: Json = {"num_assets": len(measured)}
    for metric in metrics:
        known = _known(one.numbers.get(metric.key) for one in measured)
        total = metric.total(known) if known else None
        _put(table, metric.key, total)
        if metric.has_interval:
            ends = (None, None) if total is None else wilson_interval(total, len(known), confidence)
            for end, value in zip(("low", "high"), ends, strict=True):
                _put(table, f"{metric.key}_{end}", value)
    return _rounded(table)


def _put(table: Json, key: str, value: float | None) -> None:
    """Set the entry at a dotted key."""
    *path, last = key.split(".")
    for part in path:
        table = table.setdefault(part, {})
    table[last] = value


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _rounded(value: Any) -> Any:
    """Return nested lists and dictionaries with every float rounded."""
    if isinstance(value, dict):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_rounded(entry) for entry in value]
    return round(value, DECIMALS) if isinstance(value, float) else value
