"""What a subject gives, and that nothing is made twice or without need."""

from collections.abc import Callable

import torch

from dreamfusion_kit.evaluation.judge import Judge
from dreamfusion_kit.evaluation.r_precision import CaptionPool
from dreamfusion_kit.evaluation.subject import Subject

from .conftest import POOL, PictureReader, painter, rendered, truth


def test_views_are_rendered_once(make_subject: Callable[..., Subject]) -> None:
    calls: list[object] = []
    render = rendered(painter(["a red mug", "a red mug"], "a white plaster mug"))

    def counted(*inputs: object) -> object:
        calls.append(inputs)
        return render(*inputs)

    subject = make_subject(render_mesh=counted)
    assert subject.views is subject.views
    subject.features("mesh", "color")
    subject.features("mesh", "textureless")
    assert len(calls) == 2 * 2  # two views, each in colour and without texture
    subject.features("mesh", "unlit")
    subject.images("mesh", "unlit")
    assert len(calls) == 3 * 2


def test_unlit_views_have_full_ambient_light_and_no_other(
    make_subject: Callable[..., Subject],
) -> None:
    seen: list[tuple[float, float]] = []
    render = rendered(painter(["a red mug", "a red mug"], "a white plaster mug"))

    def watched(cameras: object, lighting: object, background: object) -> object:
        seen.append((float(lighting.ambient), float(lighting.diffuse)))  # type: ignore[attr-defined]
        return render(cameras, lighting, background)

    make_subject(render_mesh=watched).images("mesh", "unlit")
    assert seen == [(1.0, 0.0)] * 2


def test_without_a_judge_nothing_is_compared(make_subject: Callable[..., Subject]) -> None:
    subject = make_subject(judge=None)
    assert subject.features("mesh", "color") is None
    assert subject.comparison("mesh", "color") is None
    assert subject.plaster_retrieval("mesh") is None
    assert subject.geometry is not None
    assert subject.sides("mesh") == ["front", "back"]


def test_without_a_truth_nothing_of_it_is_known(make_subject: Callable[..., Subject]) -> None:
    subject = make_subject(truth=None)
    assert subject.images("truth", "color") is None
    assert subject.geometry is None
    assert subject.sides("mesh") is None
    assert subject.same_object is None
    assert subject.plaster_retrieval("mesh") is None
    assert subject.retrieval("mesh", "color") is not None


def test_objects_that_look_the_same_all_around_have_no_sides(
    make_subject: Callable[..., Subject],
) -> None:
    assert make_subject(truth=truth(sides=None)).sides("mesh") is None


def test_from_a_pool_of_one_nothing_is_retrieved(make_subject: Callable[..., Subject]) -> None:
    judge = Judge(PictureReader(), "reader", CaptionPool(("a red mug",)))
    subject = make_subject(judge=judge)
    assert subject.retrieval("mesh", "color") is None
    assert subject.comparison("mesh", "color") is not None


def test_the_own_caption_is_the_pool_s_spelling_of_the_object(
    make_subject: Callable[..., Subject],
) -> None:
    """A pool that does not hold the canonical caption holds the prompt as it was written."""
    assert make_subject(prompt="A red mug").own_caption == "a red mug"
    own = CaptionPool(("an red mug", "a blue mug"))
    judge = Judge(PictureReader(), "reader", own)
    assert make_subject(prompt="an red mug", judge=judge).own_caption == "an red mug"


def test_same_object_is_what_the_truth_says_of_every_caption(
    make_subject: Callable[..., Subject],
) -> None:
    found = make_subject().same_object
    assert found is not None
    assert torch.equal(found, torch.tensor([caption.endswith("mug") for caption in POOL]))
