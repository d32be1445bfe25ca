"""The numbers of a comparison: both sides' values, their change, and whether it is chance."""

from collections.abc import Sequence

import numpy as np

from dreamfusion_kit.evaluation.metrics import METRICS, Metric
from dreamfusion_kit.gate.chance import Change, compare, random_numbers
from dreamfusion_kit.gate.metrics import AssetRow
from dreamfusion_kit.report.comparison.content import Outcome, Row
from dreamfusion_kit.report.measures import DASH, written

_LEVEL = 0.95
_NUM_FLIPS = 65536
_MINUS = "\N{MINUS SIGN}"

Rows = Sequence[tuple[AssetRow | None, AssetRow | None]]


def pair_rows(
    left: AssetRow | None, right: AssetRow | None, metrics: Sequence[Metric] = METRICS
) -> tuple[Row, ...]:
    """Return each measure that a side has, of two assets."""
    rows: list[Row] = []
    for metric in metrics:
        a, b = (None if row is None else row.value(metric.key) for row in (left, right))
        if a is not None or b is not None:
            rows.append(_row(metric, a, b, None))
    return tuple(rows)


def summary_rows(rows: Rows, metrics: Sequence[Metric] = METRICS) -> tuple[tuple[Row, ...], int]:
    """Return the mean of each measure over pairs of one prompt, its change, and how many pairs."""
    paired = [(a, b) for a, b in rows if a is not None and b is not None and a.prompt == b.prompt]
    if not paired:
        return (), 0
    table = np.array(
        [[_values(row, metrics) for row in pair] for pair in paired]
    )  # pairs sides metrics
    differences = table[:, 1] - table[:, 0]
    changes = compare(
        differences,
        num_views=0,
        num_flips=_NUM_FLIPS,
        confidence_level=_LEVEL,
        generator=random_numbers(0, "compare.flips"),
    )
    found: list[Row] = []
    for column, metric in enumerate(metrics):
        both = ~np.isnan(differences[:, column])
        if both.any():
            a, b = table[both][:, :, column].mean(axis=0).tolist()
            found.append(_row(metric, a, b, changes[column]))
    return tuple(found), len(paired)


def change_of(rows: Rows, index: int) -> float:
    """Return how far a pair's measures lie apart, as the largest share of either."""
    left, right = rows[index]
    if left is None or right is None:
        return 0.0
    shares = [0.0]
    for metric in METRICS:
        a, b = left.value(metric.key), right.value(metric.key)
        if metric.better != "neither" and a is not None and b is not None and a != b:
            shares.append(abs(a - b) / max(abs(a), abs(b)))
    return max(shares)


def _values(row: AssetRow, metrics: Sequence[Metric]) -> list[float]:
    values = [row.value(metric.key) for metric in metrics]
    return [np.nan if value is None else value for value in values]


def _row(metric: Metric, left: float | None, right: float | None, change: Change | None) -> Row:
    difference = None if left is None or right is None else right - left
    ends = None if change is None else change.interval
    return Row(
        label=metric.label,
        meaning=metric.meaning,
        left=written(left, metric.unit),
        right=written(right, metric.unit),
        change=DASH if difference is None else _signed(difference, metric),
        interval="" if ends is None else " to ".join(_signed(end, metric) for end in ends),
        outcome=_outcome(metric, difference, change),
        is_quality=metric.better != "neither",
    )


def _outcome(metric: Metric, difference: float | None, change: Change | None) -> Outcome:
    """Return which side is better; over a suite, only where the interval leaves out zero."""
    if difference is None:
        return ""
    if difference == 0 and (change is None or change.interval in (None, (0.0, 0.0))):
        return "equal"
    if change is not None:
        if change.interval is None:
            return "too few assets"
        if change.interval[0] <= 0 <= change.interval[1]:
            return "could be chance"
    if metric.better == "neither":
        return ""
    return "better" if (difference > 0) == (metric.better == "higher") else "worse"


def _signed(value: float, metric: Metric) -> str:
    """Return a difference with its sign; of shares in percentage points."""
    if metric.unit in ("share", "flag"):
        text = f"{100 * abs(value):.3g} pp"
    else:
        text = written(abs(value), metric.unit)
    return f"{_MINUS if value < 0 else '+' if value > 0 else ''}{text}"
