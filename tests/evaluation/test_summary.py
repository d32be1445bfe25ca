"""The dictionaries of an asset and of a suite, by hand-made numbers."""

import json

import pytest
import torch

from dreamfusion_kit.errors import EvaluationError
from dreamfusion_kit.evaluation.geometry import GeometryMetrics
from dreamfusion_kit.evaluation.r_precision import CaptionPool
from dreamfusion_kit.evaluation.summary import (
    AssetMetrics,
    MeshHealth,
    ObjectQuestion,
    ViewFeatures,
    asset_metrics,
    asset_row,
    janus,
    summarize,
)
from dreamfusion_kit.provenance import Cost

_POOL = CaptionPool(("a red mug", "a blue robot", "a green car"))
_MUG, _ROBOT, _CAR = torch.eye(3)
_GEOMETRY = GeometryMetrics(
    chamfer=0.02,
    f_score=0.9,
    iou=0.8,
    chamfer_raw=0.04,
    f_score_raw=0.7,
    iou_raw=0.6,
    yaw_deg=10.0,
    scale=1.1,
    watertight=True,
)


def _asset(name: str, hits: int, *, held_out: bool | None) -> AssetMetrics:
    """An asset of four views, of which `hits` look like the mug and the others like the car.

    Its textureless views look like the robot, which is the right answer in plaster. Two views
    look like a front, one should.
    """
    color = torch.stack([_MUG] * hits + [_CAR] * (4 - hits))
    known = held_out is not None
    return asset_metrics(
        asset=name,
        prompt="a red mug",
        held_out=held_out,
        own_caption="a red mug",
        pool=_POOL,
        caption_features=torch.eye(3),
        question=ObjectQuestion(
            same_object=torch.tensor([True, True, False]),
            plaster=torch.stack([_CAR, _ROBOT]),
            own_plaster=1,
        )
        if known
        else None,
        features=ViewFeatures(
            color=color,
            geometry=_ROBOT.expand(4, 3),
            ceiling=_MUG.expand(4, 3) if known else None,
            ceiling_geometry=color if known else None,
        ),
        geometry=_GEOMETRY if known else None,
        janus=janus(["front", "side", "front", "side"], ["front", "side", "back", "side"])
        if known
        else None,
        mesh=MeshHealth(watertight=name == "a", components=3),
    )


def test_asset_metrics_are_json_and_name_what_was_retrieved() -> None:
    entry = _asset("mug", 3, held_out=False)
    assert json.loads(json.dumps(entry)) == entry
    assert entry["r_precision"] == {
        "color": 0.75,
        "geometry": 0.0,
        "ceiling": 1.0,
        "ceiling_geometry": 0.75,
    }
    assert entry["object_precision"] == {
        "color": 0.75,
        "geometry": 1.0,
        "ceiling": 1.0,
        "ceiling_geometry": 0.0,
    }
    assert entry["janus"] is not None
    assert entry["janus"]["front_views"] == 2
    assert entry["janus"]["true_front_views"] == 1
    assert entry["janus"]["true_views"] == ["front", "side", "back", "side"]
    assert entry["mesh"] == {"watertight": False, "components": 3}
    assert entry["object_chance"] == pytest.approx(2 / 3)
    assert entry["clip_score"]["color"] == pytest.approx(0.75)
    assert entry["retrieved"] == ["a red mug"] * 3 + ["a green car"]
    assert entry["geometry"] is not None
    assert entry["geometry"]["iou_raw"] == 0.6


def test_a_foreign_prompt_has_neither_ceiling_nor_geometry() -> None:
    entry = _asset("other", 2, held_out=None)
    assert entry["r_precision"]["ceiling"] is None
    assert entry["geometry"] is None
    assert entry["object_precision"] is None
    assert entry["janus"] is None


def test_summary_averages_assets_and_sets_held_out_pairs_apart() -> None:
    assets = [
        _asset("a", 4, held_out=False),
        _asset("b", 2, held_out=True),
        _asset("c", 0, held_out=None),
    ]
    summary = summarize(
        assets,
        costs={"a": Cost(10.0, 300), "b": Cost(20.0, 200), "c": Cost(60.0, 100)},
        clip="tiny",
        pool=_POOL,
        confidence_level=0.95,
    )
    assert summary["num_assets"] == 3
    precision = summary["r_precision"]
    assert precision["color"] == 0.5
    assert precision["color_low"] < 0.5 < precision["color_high"]
    assert precision["geometry"] == 0.0
    assert precision["ceiling"] == 1.0
    assert precision["ceiling_geometry"] == 0.75
    assert precision["chance"] == 0.3333
    assert summary["object_precision"]["color"] == 0.75
    assert summary["object_precision"]["chance"] == 0.6667
    assert summary["clip_score"] == 0.5
    assert (summary["iou"], summary["chamfer"], summary["f_score"]) == (0.8, 0.02, 0.9)
    assert summary["seconds_per_asset"] == 30.0
    assert summary["peak_memory_bytes"] == 300
    assert (summary["front_views"], summary["true_front_views"]) == (2.0, 1.0)
    assert summary["watertight"] == 0.3333
    assert summary["components"] == 3.0
    assert summary["caption_pool"] == {"size": 3, "sha256": _POOL.sha256}
    assert summary["clip"] == "tiny"
    assert summary["trained"]["r_precision"]["color"] == 1.0
    assert summary["held_out"]["r_precision"]["color"] == 0.5
    assert summary["held_out"]["seconds_per_asset"] == 20.0
    assert summary["held_out"]["peak_memory_bytes"] == 200
    json.dumps(summary, allow_nan=False)


def test_summary_has_no_table_for_an_empty_group() -> None:
    summary = summarize(
        [_asset("c", 1, held_out=None)],
        costs={"c": Cost(1.0, 100)},
        clip="tiny",
        pool=_POOL,
        confidence_level=0.95,
    )
    assert "held_out" not in summary
    assert "trained" not in summary
    assert summary["iou"] is None
    assert summary["front_views"] is None
    assert summary["object_precision"]["geometry"] is None
    assert summary["r_precision"]["ceiling"] is None


def test_an_empty_suite_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="no assets"):
        summarize([], costs={}, clip="tiny", pool=_POOL, confidence_level=0.95)


def test_rows_have_the_same_columns_for_every_asset() -> None:
    known = asset_row(_asset("a", 4, held_out=False), Cost(10.00004, 300))
    foreign = asset_row(_asset("c", 1, held_out=None), Cost(1.0, 100))
    assert list(known) == list(foreign)
    assert known["seconds"] == 10.0
    assert known["peak_memory_bytes"] == 300
    assert known["iou"] == 0.8
    assert foreign["iou"] is None
    assert known["true_front_views"] == 1
    assert known["watertight"] is True
    assert foreign["front_views"] is None
