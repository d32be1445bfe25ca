"""Both sides' numbers, their change, and what may be chance."""

import pytest

from dreamfusion_kit.evaluation.metrics import metrics_by
from dreamfusion_kit.gate.metrics import AssetRow
from dreamfusion_kit.suites.compare_metrics import change_of, pair_rows, summary_rows


def row(prompt: str = "a mug", **metrics: float | bool | None) -> AssetRow:
    return AssetRow(prompt=prompt, recipe="toybox", identity="0", seed=0, metrics=metrics)


def test_each_measure_of_either_side_has_its_change() -> None:
    rows = pair_rows(row(iou=0.5, chamfer=0.2, fog=None), row(iou=0.6, fog=0.1))
    texts = {r.label: (r.left, r.right, r.change, r.outcome) for r in rows}
    assert texts["IoU"] == ("0.500", "0.600", "+0.100", "better")
    assert texts["Chamfer distance"] == ("0.2000", "—", "—", "")
    assert len(texts) == 3


def test_lower_is_better_where_the_metric_says_so() -> None:
    (found,) = pair_rows(row(chamfer=0.2), row(chamfer=0.1))
    assert (found.change, found.outcome) == ("\N{MINUS SIGN}0.1000", "better")
    (found,) = pair_rows(row(chamfer=0.1), row(chamfer=0.1))
    assert found.outcome == "equal"


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ([0.1] * 10, "better"),
        ([-0.1] * 10, "worse"),
        ([0.1, -0.1] * 5, "could be chance"),
        ([0.1, 0.2], "too few assets"),
        ([0.0] * 10, "equal"),
    ],
)
def test_a_mean_change_is_judged_by_its_interval(changes: list[float], outcome: str) -> None:
    pairs = [(row(iou=0.5), row(iou=0.5 + change)) for change in changes]
    (found,), count = summary_rows(pairs)
    assert (count, found.outcome) == (len(changes), outcome)
    assert bool(found.interval) == (outcome != "too few assets")


def test_only_pairs_of_one_prompt_are_averaged() -> None:
    pairs = [(row(iou=0.5), row(iou=0.6)), (row(iou=0.1), row("a car", iou=0.9)), (None, row())]
    (found,), count = summary_rows(pairs)
    assert (count, found.left, found.right) == (1, "0.500", "0.600")
    assert summary_rows(pairs[1:]) == ((), 0)


def test_the_pairs_that_differ_most_come_first() -> None:
    pairs = [(row(iou=0.5), row(iou=0.5)), (row(iou=0.5), row(iou=0.1)), (None, row(iou=1.0))]
    assert [change_of(pairs, index) for index in range(3)] == pytest.approx([0.0, 0.8, 0.0])


def test_every_judge_has_its_rows() -> None:
    key = "judges.large.r_precision.color"
    sides = row(**{key: 0.3, "vqa_score": 0.5}), row(**{key: 0.4, "vqa_score": 0.4})
    assert pair_rows(*sides) == ()
    rows = pair_rows(*sides, metrics_by(["large"], vqa=True))
    assert [found.outcome for found in rows] == ["better", "worse"]
