"""Each metric of one made-up asset, by hand."""

from collections.abc import Callable

import pytest
import torch

from dreamfusion_kit.evaluation.judge import Judge
from dreamfusion_kit.evaluation.metric import Metric
from dreamfusion_kit.evaluation.metrics import METRICS, metrics_of
from dreamfusion_kit.evaluation.r_precision import CaptionPool
from dreamfusion_kit.evaluation.subject import Subject
from dreamfusion_kit.recipe.evaluation import EvaluationSection, NamedClipSection
from dreamfusion_kit.recipe.schema import LocalSourceSection

from .conftest import POOL, PictureReader

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


def test_each_judge_gives_its_own_values(
    make_subject: Callable[..., Subject], protocol: EvaluationSection
) -> None:
    """A second judge that sees green cars in all views."""
    subject = make_subject(other_judges={"b16": Judge(CarLover(), "lover", CaptionPool(POOL))})
    clips = [named("b32", "models/b32"), named("b16", "models/b16")]
    several = protocol.model_copy(update={"clip": tuple(clips)})
    metrics = metrics_of(several)
    found = {one.key: one.measure(subject) for one in metrics if one.measure is not None}
    assert found["r_precision.color"] == 0.5
    assert found["judges.b16.r_precision.color"] == 0.0
    assert found["judges.b16.r_precision.ceiling"] == 0.0
    assert found["judges.b16.clip_score"] == 0.0
    assert "judges.b16.r_precision.chance" not in found  # the pool is shared
    assert subject.features("mesh", "color") is subject.features("mesh", "color")
    keys = {metric.key for metric in metrics}
    for metric in metrics:
        assert {metric.reference, metric.chance} - {None} <= keys


def test_one_judge_has_the_plain_metrics(protocol: EvaluationSection) -> None:
    assert metrics_of(protocol) == METRICS


def test_the_mean_answer_is_a_metric_where_a_model_is_asked(
    make_subject: Callable[..., Subject], protocol: EvaluationSection
) -> None:
    asked = protocol.model_copy(update={"vqa": named("b32", "models/vqa").source})
    (metric,) = set(metrics_of(asked)) - set(METRICS)
    assert metric.measure is not None
    assert metric.measure(make_subject(questioner=Halves())) == pytest.approx(0.25)
    assert metric.measure(make_subject()) is None


class CarLover(PictureReader):
    def image_features(self, images: torch.Tensor) -> torch.Tensor:
        return torch.eye(len(self.words))[torch.full((len(images),), POOL.index("a green car"))]


class Halves:
    """Sure of one half of the views of a red mug, never of the others."""

    def yes_probabilities(self, images: torch.Tensor, caption: str) -> torch.Tensor:
        assert caption == "a red mug"
        return torch.arange(len(images)) / 2


def named(name: str, path: str) -> NamedClipSection:
    return NamedClipSection(name=name, source=LocalSourceSection(kind="local", path=path))
