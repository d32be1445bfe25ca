"""Each metric of one made-up asset, by hand."""

from collections.abc import Callable

import pytest

from dreamfusion_kit.evaluation.judge import Judge
from dreamfusion_kit.evaluation.metric import Metric
from dreamfusion_kit.evaluation.metrics import METRICS
from dreamfusion_kit.evaluation.r_precision import CaptionPool
from dreamfusion_kit.evaluation.subject import Subject

from .conftest import PictureReader

BY_KEY = {metric.key: metric for metric in METRICS}


def measured(subject: Subject) -> dict[str, float | None]:
    return {metric.key: metric.measure(subject) for metric in METRICS if metric.measure is not None}


def test_a_half_successful_mug(make_subject: Callable[..., Subject]) -> None:
    found = measured(make_subject())
    expected = {
        "r_precision.color": 0.5,  # the second view looks like a car
        "r_precision.unlit": 0.5,
        "r_precision.geometry": 0.0,  # the pool has no plaster caption
        "r_precision.ceiling": 0.5,  # one true render looks blue
        "r_precision.ceiling_geometry": 0.0,
        "r_precision.chance": pytest.approx(1 / 3),
        "object_precision.color": 0.5,
        "object_precision.geometry": 1.0,
        "object_precision.ceiling": 1.0,  # a mug in whatever colour
        "object_precision.ceiling_geometry": 1.0,
        "object_precision.chance": pytest.approx(2 / 3),
        "clip_score": 0.5,
        "front_views": 1.0,
        "true_front_views": 1.0,
        "fog": 0.0,
        "watertight": 1.0,
        "components": 3.0,
        "dropped_components": None,  # not among the facts
    }
    assert {key: found[key] for key in expected} == expected
    assert found["roughness"] == pytest.approx(180 - 70.528779, abs=1e-3)
    assert found["iou"] is not None
    assert 0 < found["iou"] < 1


def test_without_judge_and_truth_the_mesh_is_still_measured(
    make_subject: Callable[..., Subject],
) -> None:
    found = measured(make_subject(judge=None, truth=None))
    known = {key for key, value in found.items() if value is not None}
    assert {"fog", "roughness", "watertight", "components"} <= known
    assert not any(key.startswith(("r_precision", "object_precision", "clip")) for key in known)
    assert not known & {"iou", "chamfer", "f_score", "front_views", "true_saturation"}


def test_a_pool_of_one_caption_still_gives_a_clip_score(
    make_subject: Callable[..., Subject],
) -> None:
    judge = Judge(PictureReader(), "reader", CaptionPool(("a red mug",)))
    found = measured(make_subject(judge=judge))
    assert found["clip_score"] == 0.5
    assert found["r_precision.color"] is None
    assert found["r_precision.chance"] is None


def test_records_are_complete_and_refer_to_each_other() -> None:
    assert len(BY_KEY) == len(METRICS)
    assert len({metric.column for metric in METRICS}) == len(METRICS)
    for metric in METRICS:
        assert metric.label
        assert metric.meaning.endswith(".")
        for other in (metric.reference, metric.chance):
            assert other is None or BY_KEY[other].unit == metric.unit
        if metric.has_interval:  # Wilson's is for shares
            assert metric.unit == "share"
        # A key stands for a number or for a group of them, never for both.
        assert not any(other.startswith(f"{metric.key}.") for other in BY_KEY)


def test_a_record_is_measured_in_exactly_one_way() -> None:
    with pytest.raises(ValueError, match="one of measure and among_seeds"):
        Metric("x", "X", "score", "higher", "Nothing.")
