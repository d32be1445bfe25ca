import numpy as np
import pytest

from dreamfusion_kit.gate.verdict import Verdict, judge
from dreamfusion_kit.recipe.gate import GateSection

from .conftest import as_metrics, asset_row, made_rows


def verdicts(before: list, after: list, gate: GateSection) -> dict[str, Verdict]:
    results = judge(as_metrics(before), as_metrics(after), gate).results
    return {result.key: result.verdict for result in results}


def test_a_fall_on_every_asset_is_refused(gate: GateSection) -> None:
    before = [asset_row("11111111")] * 8
    after = [asset_row("11110000")] * 8
    comparison = judge(as_metrics(before), as_metrics(after), gate)
    assert comparison.refused
    first = comparison.results[0]
    assert (first.key, first.before, first.after) == ("r_precision.color", 1.0, 0.5)
    assert first.change.mean == pytest.approx(-0.5)
    assert first.verdict is Verdict.FELL
    assert {r.verdict for r in comparison.results[1:]} == {Verdict.HELD}


def test_equal_sides_pass(gate: GateSection) -> None:
    rows = made_rows(16, 0)
    comparison = judge(as_metrics(rows), as_metrics(rows), gate)
    assert not comparison.refused
    assert {result.verdict for result in comparison.results} == {Verdict.HELD}


def test_lower_is_better_where_the_gate_says_so(gate: GateSection) -> None:
    before = [asset_row("1111", chamfer=0.03)] * 8
    worse = [asset_row("1111", chamfer=0.05)] * 8
    assert verdicts(before, worse, gate)["chamfer"] is Verdict.FELL
    assert verdicts(worse, before, gate)["chamfer"] is Verdict.HELD


def test_a_certain_fall_within_the_tolerance_passes(gate: GateSection) -> None:
    before = [asset_row("1111", iou=0.70)] * 20
    after = [asset_row("1111", iou=0.68)] * 20  # the tolerance itself, to the last digit
    assert verdicts(before, after, gate)["iou"] is Verdict.SMALL
    deeper = [asset_row("1111", iou=0.6799)] * 20
    assert verdicts(before, deeper, gate)["iou"] is Verdict.FELL


def test_a_deep_fall_of_one_asset_may_be_chance(gate: GateSection) -> None:
    before = [asset_row("1111", iou=0.7)] * 12
    after = [asset_row("1111", iou=0.1), *before[1:]]
    assert verdicts(before, after, gate)["iou"] is Verdict.MAYBE


def test_four_assets_are_too_few(gate: GateSection) -> None:
    before = [asset_row("11111111")] * 4
    after = [asset_row("00000000")] * 4
    comparison = judge(as_metrics(before), as_metrics(after), gate)
    assert comparison.results[0].verdict is Verdict.TOO_FEW
    assert not comparison.refused
    assert comparison.results[0] in comparison.too_small


def test_a_measure_that_vanishes_is_refused(gate: GateSection) -> None:
    before = [asset_row("1111")] * 6
    after = [asset_row("1111", iou=None), *before[1:]]
    comparison = judge(as_metrics(before), as_metrics(after), gate)
    assert comparison.refused
    assert comparison.pairs.lost == (("a000", "iou"),)


def test_what_neither_side_measured_is_not_judged(gate: GateSection) -> None:
    rows = [asset_row("1111", iou=None)] * 6
    comparison = judge(as_metrics(rows), as_metrics(rows), gate)
    assert not comparison.refused
    (iou,) = [result for result in comparison.results if result.key == "iou"]
    assert iou.verdict is Verdict.UNMEASURED
    assert np.isnan(iou.before)


def test_seeds_rarely_raise_an_alarm_and_a_drop_does(gate: GateSection) -> None:
    """A small A/A study; the large one is scripts/gate_study.py."""
    fast = gate.model_copy(update={"num_flips": 1000})
    alarms = falls = 0
    for seed in range(60):
        base = as_metrics(made_rows(16, 2 * seed))
        alarms += judge(base, as_metrics(made_rows(16, 2 * seed + 1)), fast).refused
        falls += judge(base, as_metrics(made_rows(16, 2 * seed + 1, drop=0.15)), fast).refused
    assert alarms <= 7  # 5 % of 60 are 3, and 7 is two standard deviations above
    assert falls >= 58


def test_the_decision_does_not_depend_on_the_order_of_assets(gate: GateSection) -> None:
    rows = {f"a{i}": row for i, row in enumerate(made_rows(16, 0))}
    other = {f"a{i}": row for i, row in enumerate(made_rows(16, 1, drop=0.1))}
    turned = dict(reversed(other.items()))
    first = judge(as_metrics(rows), as_metrics(other), gate)
    second = judge(as_metrics(rows), as_metrics(turned), gate)
    assert [r.change.p_family for r in first.results] == pytest.approx(
        [r.change.p_family for r in second.results]
    )
