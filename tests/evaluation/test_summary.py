"""A suite's metrics and its table, by hand-made numbers."""

import json
from typing import Any

import pytest

from dreamfusion_kit.errors import EvaluationError
from dreamfusion_kit.evaluation.entry import (
    AssetEntry,
    CostRow,
    InputsEntry,
    JudgeEntry,
    Numbers,
    PoolEntry,
    SuiteCost,
    SuiteMetrics,
    ViewsEntry,
)
from dreamfusion_kit.evaluation.metrics import METRICS
from dreamfusion_kit.evaluation.r_precision import wilson_interval
from dreamfusion_kit.evaluation.summary import (
    Measured,
    dumped,
    suite_cost,
    suite_metrics,
    table_row,
)


def measured(asset: str, *, held_out: bool | None = None, **numbers: float | None) -> Measured:
    found: Numbers = dict.fromkeys((metric.key for metric in METRICS), None)
    found |= {key.replace("__", "."): value for key, value in numbers.items()}
    entry = AssetEntry(
        format_version=2,
        asset=asset,
        prompt=f"a {asset}",
        held_out=held_out,
        num_views=8,
        judge=JudgeEntry(name="tiny"),
        caption_pool=PoolEntry(kind="suite", size=3, sha256="ab" * 32),
        inputs=InputsEntry(field_sha256="ab" * 32, mesh_sha256="cd" * 32),
        metrics=found,
        views=ViewsEntry(
            hit="11011111",
            hit_textureless="00000000",
            hit_plaster=None,
            rank=(1, 1, 3, 1, 1, 1, 1, 1),
            cosine=(0.8912,) * 8,
        ),
        retrieved=None,
        sides=None,
        alignment=None,
    )
    return Measured(entry, found, recipe="toybox", identity="ef" * 32, seed=0)


def summed_up(*assets: Measured, **changes: Any) -> SuiteMetrics:
    arguments: dict[str, Any] = {"confidence_level": 0.95, "code": {}, "machine": None}
    return suite_metrics("trio", assets, **(arguments | changes))


def test_means_stand_at_their_dotted_places_with_intervals() -> None:
    found = summed_up(
        measured("a", r_precision__color=1.0, iou=0.8, watertight=1.0),
        measured("b", r_precision__color=0.5, watertight=0.0),
        measured("c", r_precision__color=0.0, watertight=0.0),
    ).summary
    low, high = wilson_interval(0.5, 3, 0.95)
    precision: Any = found["r_precision"]
    assert found["num_assets"] == 3
    assert precision["color"] == 0.5
    assert (precision["color_low"], precision["color_high"]) == (round(low, 4), round(high, 4))
    assert found["iou"] == 0.8  # of those that have one
    assert found["watertight"] == 0.3333
    assert found["clip_score"] is None
    assert precision["geometry_low"] is None


def test_held_out_pairs_stand_apart_where_there_are_any() -> None:
    found: Any = summed_up(
        measured("a", held_out=False, iou=0.8),
        measured("b", held_out=True, iou=0.4),
        measured("c", iou=None),
    ).summary
    assert (found["iou"], found["trained"]["iou"], found["held_out"]["iou"]) == (0.6, 0.8, 0.4)
    assert not {"trained", "held_out"} & summed_up(measured("c")).summary.keys()


def test_rows_carry_what_a_gate_compares() -> None:
    row = summed_up(measured("a", iou=0.123456)).assets["a"]
    assert row.metrics["iou"] == 0.1235
    assert row.views is not None
    assert row.views.hit == "11011111"
    assert (row.prompt, row.recipe, row.seed, row.identity) == ("a a", "toybox", 0, "ef" * 32)


def test_the_file_reads_back_with_an_asset_a_line_and_no_time() -> None:
    found = summed_up(
        measured("a", iou=0.5), measured("b"), code={"mesh": "12"}, machine={"cpu": "x"}
    )
    text = dumped(found)
    assert SuiteMetrics.model_validate_json(text) == found
    assert sum('"identity"' in line for line in text.splitlines()) == 2
    assert list(json.loads(text)) == sorted(json.loads(text))
    assert "seconds" not in text
    assert "memory" not in text


def test_a_thousand_assets_stay_below_two_megabytes() -> None:
    numbers = {metric.key.replace(".", "__"): 0.1234567 for metric in METRICS}
    assets = [measured(f"a_long_name_of_an_asset_{index:04}", **numbers) for index in range(1000)]
    assert len(dumped(summed_up(*assets)).encode()) < 2_000_000


def test_costs_are_summed_up_apart() -> None:
    costs = {"a": CostRow(seconds=10.0, peak_memory_bytes=300),
             "b": CostRow(seconds=20.0, peak_memory_bytes=200)}  # fmt: skip
    found = suite_cost("trio", costs)
    assert (found.seconds_per_asset, found.peak_memory_bytes) == (15.0, 300)
    assert SuiteCost.model_validate_json(dumped(found)) == found


def test_an_empty_suite_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="no assets"):
        summed_up()


def test_a_file_without_assets_reads_back() -> None:
    """Summaries of before there were rows are kept so."""
    found = summed_up(measured("a")).model_copy(update={"assets": {}})
    assert SuiteMetrics.model_validate_json(dumped(found)) == found


def test_rows_have_the_same_columns_for_every_asset() -> None:
    one = table_row(measured("a", held_out=False, iou=0.80004))
    other = table_row(measured("c"))
    assert list(one) == list(other)
    assert list(one) == ["asset", "prompt", "held_out", *(metric.column for metric in METRICS)]
    assert one["iou"] == 0.8
    assert other["iou"] is None
