import numpy as np
import pytest

from dreamfusion_kit.errors import EvaluationError
from dreamfusion_kit.gate.pairs import pair
from dreamfusion_kit.recipe.gate import GatedMetricSection, GateSection

from .conftest import as_metrics, asset_row

ROW = asset_row("1100")


def test_assets_are_paired_by_id_in_the_new_order(gate: GateSection) -> None:
    before = as_metrics({"b": asset_row("1111"), "a": asset_row("0000"), "gone": ROW})
    after = as_metrics({"a": asset_row("1000"), "new": ROW, "b": asset_row("1110")})
    pairs = pair(before, after, gate.metrics)
    assert pairs.assets == ("a", "b")
    assert pairs.metrics == tuple(gate.metrics)
    assert pairs.before[:, 0].tolist() == [0.0, 1.0]
    assert pairs.after[:, 0].tolist() == [0.25, 0.75]
    assert (pairs.only_before, pairs.only_after, pairs.num_views) == (("gone",), ("new",), 4)


def test_another_prompt_is_another_asset(gate: GateSection) -> None:
    before = as_metrics({"a": ROW, "b": ROW})
    after = as_metrics({"a": ROW, "b": {**ROW, "prompt": "a blue mug"}})
    pairs = pair(before, after, gate.metrics)
    assert (pairs.assets, pairs.other_prompt) == (("a",), ("b",))


def test_null_is_nan_and_a_lost_measure_is_named(gate: GateSection) -> None:
    before = as_metrics({"a": ROW, "b": asset_row("1100", iou=None)})
    after = as_metrics({"a": asset_row("1100", iou=None), "b": ROW})
    pairs = pair(before, after, gate.metrics)
    assert np.isnan(pairs.before[:, 1]).tolist() == [False, True]
    assert pairs.lost == (("a", "iou"),)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"judge": {"name": "another"}}, "judge"),
        ({"caption_pool": {"kind": "toybox", "size": 145, "sha256": "00"}}, "caption_pool"),
    ],
)
def test_another_protocol_is_refused_on_one_line(
    gate: GateSection, changes: dict, named: str
) -> None:
    with pytest.raises(
        EvaluationError, match=rf"^{named}: found .*expected the same protocol"
    ) as error:
        pair(as_metrics([ROW]), as_metrics([ROW], **changes), gate.metrics)
    assert "\n" not in str(error.value)


def test_another_number_of_views_is_refused(gate: GateSection) -> None:
    with pytest.raises(EvaluationError, match="views: found 4, 8 per asset"):
        pair(as_metrics([ROW]), as_metrics([asset_row("11001100")]), gate.metrics)


def test_nothing_in_common_is_refused(gate: GateSection) -> None:
    with pytest.raises(EvaluationError, match="no asset that both sides have"):
        pair(as_metrics({"a": ROW}), as_metrics({"b": ROW}), gate.metrics)


def test_a_misspelt_metric_is_an_error(gate: GateSection) -> None:
    section: GatedMetricSection = gate.metrics["iou"]
    watched = {"r_precision.colour": section}
    with pytest.raises(EvaluationError, match=r"r_precision\.colour.*did you mean r_precision\.co"):
        pair(as_metrics([ROW]), as_metrics([ROW]), watched)


def test_the_same_asset_with_other_numbers_was_remeasured(gate: GateSection) -> None:
    """A wrong mean in the judge's preprocessing may lift scores: no one-sided test sees it."""
    before = as_metrics({"a": ROW, "b": ROW, "c": ROW})
    same = {"identity": ROW["identity"]}
    better, rounded = asset_row("1100", iou=0.75), asset_row("1100", iou=0.7005)
    moved = {"a": better | same, "b": better, "c": rounded | same}
    made = {"optimize": "11", "mesh": "22", "evaluate": "other"}
    assert pair(before, as_metrics(moved, code=made), gate.metrics).remeasured == ("a",)
    for changes in (
        {"code": made | {"mesh": "other"}},
        {"code": made | {"optimize": "other"}},
        {"code": {}},
        {"code": made, "machine": {"device": "cuda"}},
        {"code": made, "machine": None},
    ):
        assert pair(before, as_metrics(moved, **changes), gate.metrics).remeasured == ()


def test_what_was_not_written_down_is_not_called_equal(gate: GateSection) -> None:
    rows = [asset_row(hits) | {"identity": "ab"} for hits in ("1100", "1111")]
    for changes in ({"code": {}}, {"machine": None}, {"code": {}, "machine": None}):
        sides = [as_metrics({"a": row}, **changes) for row in rows]
        assert pair(*sides, gate.metrics).remeasured == ()
