"""The entry of one asset."""

from collections.abc import Callable

import pytest
import torch

from dreamfusion_kit.errors import EvaluationError
from dreamfusion_kit.evaluation.entry import AssetEntry, InputsEntry, PoolEntry
from dreamfusion_kit.evaluation.judge import Judge
from dreamfusion_kit.evaluation.measure import measure_asset
from dreamfusion_kit.evaluation.metric import Metric
from dreamfusion_kit.evaluation.metrics import METRICS
from dreamfusion_kit.evaluation.r_precision import CaptionPool
from dreamfusion_kit.evaluation.subject import Subject

from .conftest import PictureReader, painter, rendered

INPUTS = InputsEntry(field_sha256="ab" * 32, mesh_sha256="cd" * 32)
POOL = PoolEntry(kind="toybox", size=3, sha256="ef" * 32)


def test_an_entry_reads_back_and_has_every_metric(make_subject: Callable[..., Subject]) -> None:
    entry = measure_asset(make_subject(), asset="mug", inputs=INPUTS, pool=POOL)
    assert AssetEntry.model_validate_json(entry.model_dump_json()) == entry
    assert set(entry.metrics) == {one.key for one in METRICS if one.measure is not None}
    assert (entry.asset, entry.held_out, entry.num_views) == ("mug", False, 2)
    assert entry.judge is not None
    assert entry.judge.name == "reader"
    assert entry.views is not None
    assert (entry.views.hit, entry.views.hit_textureless, entry.views.hit_plaster) == (
        "10", "00", "11",
    )  # fmt: skip
    assert entry.views.rank == (1, 3)  # a car to the judge: both mugs are as far, a tie is lost
    assert entry.views.cosine == (1.0, 0.0)
    assert entry.retrieved == ("a red mug", "a green car")
    assert entry.sides is not None
    assert entry.sides.views == ("front", "back")


def test_what_there_is_not_is_null(make_subject: Callable[..., Subject]) -> None:
    subject = make_subject(judge=None, truth=None)
    entry = measure_asset(subject, asset="mug", inputs=INPUTS, pool=None)
    assert entry.judge is None
    assert entry.views is None
    assert entry.retrieved is None
    assert entry.sides is None
    assert entry.alignment is None
    assert entry.held_out is None


def test_a_metric_is_added_by_its_record_alone(make_subject: Callable[..., Subject]) -> None:
    faces = Metric(
        "faces", "Faces", "count", "neither", "Triangles.",
        measure=lambda subject: float(len(subject.mesh.surface.faces)),
    )  # fmt: skip
    entry = measure_asset(
        make_subject(), asset="mug", inputs=INPUTS, pool=POOL, metrics=(*METRICS, faces)
    )
    assert entry.metrics["faces"] == 4


@pytest.mark.parametrize("part", ["render_mesh", "render_field"])
def test_views_that_are_not_finite_are_refused(
    make_subject: Callable[..., Subject], part: str
) -> None:
    paint = painter(["a red mug", "a red mug"], "a white plaster mug")
    broken = rendered(lambda *inputs: torch.nan * paint(*inputs))
    with pytest.raises(EvaluationError, match="not finite"):
        measure_asset(make_subject(**{part: broken}), asset="mug", inputs=INPUTS, pool=POOL)


def test_a_metric_that_is_not_finite_is_named(make_subject: Callable[..., Subject]) -> None:
    bad = Metric("bad", "Bad", "score", "higher", "Never.", measure=lambda subject: float("nan"))
    with pytest.raises(EvaluationError, match="asset mug: found bad nan"):
        measure_asset(make_subject(), asset="mug", inputs=INPUTS, pool=POOL, metrics=(bad,))


def test_each_judge_leaves_its_verdicts(make_subject: Callable[..., Subject]) -> None:
    other = Judge(PictureReader(), "second", CaptionPool(("a red mug", "a green car")))
    entry = measure_asset(
        make_subject(other_judges={"b16": other}), asset="mug", inputs=INPUTS, pool=POOL
    )
    verdict = entry.other_judges["b16"]
    assert verdict.judge.name == "second"
    assert (verdict.views.hit, verdict.views.rank) == ("10", (1, 2))
    assert verdict.retrieved == ("a red mug", "a green car")
    assert AssetEntry.model_validate_json(entry.model_dump_json()) == entry
    alone = measure_asset(make_subject(), asset="mug", inputs=INPUTS, pool=POOL)
    assert set(entry.model_dump()) - set(alone.model_dump()) == {"other_judges"}
