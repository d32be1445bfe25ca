import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamfusion_kit.report.plots import (
    BOTTOM,
    LEFT,
    MAX_BINS,
    RIGHT,
    TOP,
    binned,
    gauge,
    line_chart,
    read_curve,
    round_ticks,
)


def coordinates(svg: str, tag: str) -> list[tuple[float, float]]:
    element = ET.fromstring(svg).find(tag)
    assert element is not None
    return [tuple(map(float, pair.split(","))) for pair in element.attrib["points"].split()]


def test_a_line_goes_through_its_points():
    chart = line_chart([(0.0, 0.0), (5.0, 1.0), (10.0, 0.5)], label="x")
    middle = (LEFT + RIGHT) / 2
    assert coordinates(chart, "polyline") == [
        (LEFT, BOTTOM),
        (middle, TOP),
        (RIGHT, (TOP + BOTTOM) / 2),
    ]


def test_negative_values_keep_zero_in_the_picture():
    chart = line_chart([(0.0, -1.0), (1.0, -3.0)], label="x")
    assert coordinates(chart, "polyline") == [
        (LEFT, pytest.approx(TOP + (BOTTOM - TOP) / 3, abs=0.01)),
        (RIGHT, BOTTOM),
    ]


@pytest.mark.parametrize(
    "points", [[], [(3.0, 0.25)], [(0.0, 0.0), (1.0, 0.0)], [(0.0, 1e300), (1.0, 1e300)]]
)
def test_degenerate_curves_are_pictures_of_finite_numbers(points):
    root = ET.fromstring(line_chart(points, label="x"))
    for element in root.iter():
        for name, value in element.attrib.items():
            if name in {"x", "y", "x1", "y1", "x2", "y2"}:
                assert math.isfinite(float(value))
    assert len(coordinates(ET.tostring(root, encoding="unicode"), "polyline")) == len(points)


def test_long_curves_show_means_in_a_band_of_extremes():
    points = [(float(step), float(step % 2)) for step in range(10 * MAX_BINS)]
    chart = line_chart(points, label="x")
    assert {y for _, y in coordinates(chart, "polyline")} == {(TOP + BOTTOM) / 2}
    band = coordinates(chart, "polygon")
    assert [y for _, y in band] == [TOP] * MAX_BINS + [BOTTOM] * MAX_BINS


@given(st.lists(st.floats(-1e6, 1e6), max_size=300), st.integers(1, 40))
def test_bins_keep_the_sum_and_the_extremes(values, max_bins):
    points = [(float(step), value) for step, value in enumerate(values)]
    bins = binned(points, max_bins)
    assert len(bins) == min(len(values), max_bins)
    if values:
        assert min(part.low for part in bins) == min(values)
        assert max(part.high for part in bins) == max(values)
        assert sorted({part.x for part in bins}) == [part.x for part in bins]
    if len(values) % max_bins == 0 and values:
        mean = sum(part.mean for part in bins) / max_bins
        assert mean == pytest.approx(sum(values) / len(values), abs=1e-6)


@pytest.mark.parametrize(
    ("low", "high", "most", "ticks"),
    [
        (0.0, 1.0, 4, [0, 0.5, 1]),
        (0.0, 599.0, 6, [0, 100, 200, 300, 400, 500]),
        (0.0, 0.3, 4, [0, 0.1, 0.2, 0.3]),
        (-3.0, 3.0, 4, [-2, 0, 2]),
        (0.0, 10000.0, 6, [0, 2000, 4000, 6000, 8000, 10000]),
    ],
)
def test_ticks_are_round(low, high, most, ticks):
    assert round_ticks(low, high, most=most) == pytest.approx(ticks)


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(2, 9))
def test_ticks_are_few_and_inside(low, width, most):
    high = low + width
    if not width > 1e-6 * abs(low):
        return
    ticks = round_ticks(low, high, most=most)
    assert len(ticks) <= most
    assert all(low - 1e-6 * width <= tick <= high + 1e-6 * width for tick in ticks)


def test_tables_are_read_by_their_header(tmp_path):
    table = tmp_path / "curve.tsv"
    table.write_text("timestamp\tstep\topacity\n99\t0\t0.5\n99\t10\tnan\n99\t20\t1e-3\n")
    assert read_curve(table) == [(0.0, 0.5), (20.0, 0.001)]


def test_an_empty_table_is_an_empty_curve(tmp_path):
    table = tmp_path / "curve.tsv"
    table.write_text("")
    assert read_curve(table) == []


def test_labels_are_escaped():
    label = '"><script>alert(1)</script>'
    for svg in (
        line_chart([(0.0, 1.0)], label=label),
        gauge(0.5, interval=None, chance=None, ceiling=None, label=label),
    ):
        root = ET.fromstring(svg)  # raises where the label broke out of its attribute
        assert root.attrib["aria-label"] == label
        assert root.find(".//script") is None


def test_a_gauge_marks_chance_ceiling_and_interval():
    root = ET.fromstring(gauge(0.5, interval=(0.25, 0.75), chance=0.1, ceiling=0.9, label="half"))
    marks = {element.attrib["class"]: element.attrib for element in root}
    assert marks["fill"]["width"] == "100"
    assert (marks["interval"]["x1"], marks["interval"]["x2"]) == ("50", "150")
    assert marks["chance"]["x1"] == "20"
    assert marks["ceiling"]["x1"] == "180"
