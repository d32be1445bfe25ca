import math

import pytest

from dreamfusion_kit.report.measures import (
    DASH,
    groups,
    lookup,
    rows,
    written,
)

METRICS = {"a": {"b": 0.25, "flag": True, "none": None, "text": "x"}, "nan": math.nan, "n": 3}


@pytest.mark.parametrize(("key", "value"), [("a.b", 0.25), ("n", 3), ("a.flag", 1)])
def test_numbers_are_found_by_dotted_key(key, value):
    assert lookup(METRICS, key) == value


@pytest.mark.parametrize("key", ["a", "a.none", "a.text", "a.b.c", "nan", "missing.x"])
def test_what_is_no_finite_number_is_not_found(key):
    assert lookup(METRICS, key) is None


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.75, "share", "75 %"),
        (1 / 384, "share", "0.26 %"),
        (1.0, "share", "100 %"),
        (0.0, "share", "0 %"),
        (0.41234, "score", "0.412"),
        (0.04126, "distance", "0.0413"),
        (131.4, "seconds", "131 s"),
        (1234.0, "seconds", "1,234 s"),
        (2.54, "seconds", "2.5 s"),
        (813 * 2**20, "memory", "813 MiB"),
        (1.5 * 2**30, "memory", "1.50 GiB"),
        (3, "count", "3"),
        (2.625, "count", "2.62"),
        (1, "flag", "yes"),
        (0, "flag", "no"),
        (0.75, "flag", "75 %"),
        (12.34, "angle", "12.3°"),
        (None, "flag", DASH),
        (None, "seconds", DASH),
    ],
)
def test_numbers_are_written_for_readers(value, unit, text):
    assert written(value, unit) == text


def test_every_leaf_becomes_a_row_in_order():
    tree = {
        "z": {"y": 1, "x": None},
        "list": ["a", {"k": [1, 2]}],
        "empty": {},
        "nothing": [],
        "yes": True,
        "third": 1 / 3,
    }
    assert list(rows(tree)) == [
        ("z.y", "1"),
        ("z.x", DASH),
        ("list", "a, {k: [1, 2]}"),
        ("empty", DASH),
        ("nothing", DASH),
        ("yes", "yes"),
        ("third", "0.333333"),
    ]
    assert list(rows({})) == []


def test_groups_appear_where_the_suite_has_them():
    tables = {"iou": 0.5, "held_out": {"iou": 0.25}}
    assert groups(tables) == [("all", tables), ("held out", {"iou": 0.25})]
