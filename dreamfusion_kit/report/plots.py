"""Charts as inline SVG: no script, no library, colours from the page's style sheet.

Everything is text built with `Markup.format`, which escapes what it is given.
"""

import csv
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from markupsafe import Markup

Point: TypeAlias = tuple[float, float]

WIDTH, HEIGHT = 320, 170
LEFT, RIGHT, TOP, BOTTOM = 44.0, 302.0, 10.0, 146.0
"""The plotting area inside the picture, in SVG units; y grows downwards."""

MAX_BINS = 120  # more bins would be finer than the picture's pixels


@dataclass(frozen=True)
class Axis:
    """A linear scale from data to picture, with round ticks inside the data's range."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        """Return the position of `value` in the picture."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


@dataclass(frozen=True)
class Bin:
    """Neighbouring points merged into one: mean position, mean value, extremes."""

    x: float
    mean: float
    low: float
    high: float


def read_curve(table: Path) -> list[Point]:
    """Return the (step, value) rows of a table; rows without a finite value are left out.

    A number that is not finite leaves a gap in the chart.
    """
    with table.open(encoding="utf-8", newline="") as lines:
        rows = csv.reader(lines, delimiter="\t")
        header = next(rows, ["step"])
        step = header.index("step")
        points = [(float(row[step]), float(row[-1])) for row in rows if row]
    return [point for point in points if math.isfinite(point[1])]


def line_chart(points: Sequence[Point], *, label: str) -> Markup:
    """Return a line over steps, with a band from minimum to maximum where points were binned.

    Args:
        points: (step, value), by increasing step, finite. No points make an empty frame.
        label: What the picture shows, for screen readers.
    """
    bins = binned(points, MAX_BINS)
    x, y = _axes(points)
    line = " ".join(_pair(x.place(part.x), y.place(part.mean)) for part in bins)
    parts = [_grid(x, y)]
    if len(bins) < len(points):
        upper = [_pair(x.place(part.x), y.place(part.high)) for part in bins]
        lower = [_pair(x.place(part.x), y.place(part.low)) for part in reversed(bins)]
        parts.append(_tag('<polygon class="band" points="{}"/>', " ".join(upper + lower)))
    parts.append(_tag('<polyline class="line" points="{}"/>', line))
    return _tag(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>',
        WIDTH,
        HEIGHT,
        label,
        Markup("").join(parts),
    )


def gauge(
    value: float, *, interval: Point | None, chance: float | None, ceiling: float | None, label: str
) -> Markup:
    """Return a share as a bar from 0 to 1, with its interval, and ticks at chance and ceiling."""
    scale = Axis(0.0, 1.0, 0.0, 200.0, ())
    parts = [
        Markup('<rect class="rail" x="0" y="5" width="200" height="6" rx="3"/>'),
        _tag('<rect class="fill" x="0" y="5" width="{}" height="6" rx="3"/>', _at(scale, value)),
    ]
    if interval is not None:
        low, high = (_at(scale, end) for end in interval)
        parts.append(_tag('<line class="interval" x1="{}" x2="{}" y1="8" y2="8"/>', low, high))
    for name, mark in (("chance", chance), ("ceiling", ceiling)):
        if mark is not None:
            form = '<line class="{}" x1="{}" x2="{}" y1="0" y2="16"/>'
            parts.append(_tag(form, name, _at(scale, mark), _at(scale, mark)))
    return _tag(
        '<svg class="gauge" viewBox="-2 0 204 16" role="img" aria-label="{}">{}</svg>',
        label,
        Markup("").join(parts),
    )


def binned(points: Sequence[Point], max_bins: int) -> list[Bin]:
    """Return at most `max_bins` runs of neighbours, as equal in size as possible."""
    count = min(len(points), max_bins)
    edges = [index * len(points) // count for index in range(count + 1)] if count else [0]
    runs = [points[first:last] for first, last in itertools.pairwise(edges)]
    return [_bin(run) for run in runs]


def round_ticks(low: float, high: float, *, most: int) -> tuple[float, ...]:
    """Return the multiples of 1, 2 or 5 times a power of ten within [low, high].

    The step is the smallest that gives at most `most` ticks; `low < high`, `most >= 2`.
    """
    power = math.floor(math.log10((high - low) / most))
    steps = (factor * 10.0**exponent for exponent in (power, power + 1) for factor in (1, 2, 5))
    slack = (high - low) * 1e-9  # 0.3 / 0.1 is a hair below 3
    for step in steps:
        first, last = math.ceil((low - slack) / step), math.floor((high + slack) / step)
        if last - first < most:
            return tuple(index * step for index in range(first, last + 1))
    raise AssertionError("ten times the least step always fits")


def _bin(run: Sequence[Point]) -> Bin:
    steps, values = [step for step, _ in run], [value for _, value in run]
    return Bin(math.fsum(steps) / len(run), math.fsum(values) / len(run), min(values), max(values))


def _axes(points: Sequence[Point]) -> tuple[Axis, Axis]:
    """Return the axes; the value axis always includes 0, so that sizes can be compared."""
    steps = [step for step, _ in points] or [0.0, 1.0]
    values = [value for _, value in points] or [0.0, 1.0]
    return (
        _axis(min(steps), max(steps), LEFT, RIGHT, most=6),
        _axis(min(*values, 0.0), max(*values, 0.0), BOTTOM, TOP, most=4),
    )


def _axis(low: float, high: float, start: float, end: float, *, most: int) -> Axis:
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # one value: any width will do
        high = low + max(1.0, abs(low))
    return Axis(low, high, start, end, round_ticks(low, high, most=most))


def _grid(x: Axis, y: Axis) -> Markup:
    lines = [
        _tag(
            '<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>'
            '<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>',
            _number(LEFT),
            _number(RIGHT),
            *[_number(y.place(tick))] * 2,
            _number(LEFT - 6),
            _number(y.place(tick) + 3.5),
            f"{tick:.6g}",
        )
        for tick in y.ticks
    ]
    steps = [
        _tag(
            '<text class="tick" x="{}" y="{}" text-anchor="middle">{}</text>',
            _number(x.place(tick)),
            HEIGHT - 6,
            f"{tick:.6g}",
        )
        for tick in x.ticks
    ]
    return Markup("").join(lines + steps)


def _at(scale: Axis, value: float) -> str:
    return _number(scale.place(value))


def _pair(x: float, y: float) -> str:
    return f"{_number(x)},{_number(y)}"


def _number(value: float) -> str:
    """Return a coordinate with at most two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _tag(form: str, *values: object) -> Markup:
    return Markup(form).format(*values)
