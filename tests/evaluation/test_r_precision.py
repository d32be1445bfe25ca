"""Retrieval, intervals and caption pools against hand-made answers (reference, check C15)."""

import hashlib

import pytest
import torch

from dreamfusion_kit import seeding
from dreamfusion_kit.errors import EvaluationError
from dreamfusion_kit.evaluation.r_precision import (
    CaptionPool,
    clip_score,
    cosine_similarity,
    object_hits,
    own_ranks,
    r_precision,
    retrieval_hits,
    wilson_interval,
)
from dreamfusion_kit.recipe.captions import normalize_caption


def test_identity_similarity_retrieves_everything() -> None:
    assert retrieval_hits(torch.eye(153), torch.arange(153)).all()


def test_shifted_similarity_retrieves_nothing() -> None:
    shifted = torch.eye(153).roll(1, dims=1)
    assert not retrieval_hits(shifted, torch.arange(153)).any()


def test_random_similarity_is_near_chance() -> None:
    similarity = torch.randn(40_000, 153, generator=seeding.generator(0, "test"))
    rate = retrieval_hits(similarity, torch.arange(40_000) % 153).double().mean().item()
    chance = 1 / 153
    assert rate == pytest.approx(chance, abs=4 * (chance / 40_000) ** 0.5)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0])
def test_hits_do_not_depend_on_the_scale_of_logits(scale: float) -> None:
    similarity = torch.randn(64, 8, generator=seeding.generator(1, "test"))
    own = torch.arange(64) % 8
    expected = similarity.argmax(dim=1) == own
    assert torch.equal(retrieval_hits(scale * similarity, own), expected)


def test_a_tie_is_a_miss() -> None:
    similarity = torch.tensor([[0.5, 0.5, 0.1], [0.5, 0.4, 0.1]])
    assert retrieval_hits(similarity, torch.tensor([0, 0])).tolist() == [False, True]


def test_the_right_object_in_a_wrong_colour_is_a_hit() -> None:
    mugs = torch.tensor([True, True, False, False])
    similarity = torch.tensor([[0.1, 0.9, 0.5, 0.5], [0.4, 0.4, 0.6, 0.1], [0.7, 0.2, 0.7, 0.2]])
    assert object_hits(similarity, mugs).tolist() == [True, False, False]


def test_r_precision_is_the_share_of_views() -> None:
    similarity = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.7, 0.6], [0.3, 0.2]])
    assert r_precision(similarity, own_index=0) == 0.75
    assert r_precision(similarity, own_index=1) == 0.25


def test_clip_score_is_the_mean_cosine_with_the_own_caption() -> None:
    images = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    captions = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
    similarity = cosine_similarity(images, captions)
    assert clip_score(similarity, own_index=0) == pytest.approx(0.5)
    assert clip_score(similarity, own_index=1) == pytest.approx(0.5**0.5)


def test_normalize_caption_follows_dream_fields() -> None:
    assert (
        normalize_caption("A ZEBRA IS EATING GRASS ON THE GROUND ")
        == "a zebra is eating grass on the ground."
    )
    assert normalize_caption("a red mug., ") == "a red mug."


def test_pool_finds_captions_as_normalised() -> None:
    pool = CaptionPool(("a red mug", "A blue robot."))
    assert pool.index("A red mug.") == 0
    assert pool.index("a blue robot") == 1
    assert pool.chance == 0.5


def test_pool_hash_ignores_order_and_spelling_of_case() -> None:
    expected = hashlib.sha256(b"a blue robot.\na red mug.").hexdigest()
    assert CaptionPool(("a red mug", "a blue robot")).sha256 == expected
    assert CaptionPool(("A blue robot.", "a red mug")).sha256 == expected


def test_including_adds_only_a_new_caption() -> None:
    pool = CaptionPool(("a red mug", "a blue robot"))
    assert pool.including("A red mug") is pool
    assert pool.including("a green dragon").captions == (*pool.captions, "a green dragon")


@pytest.mark.parametrize("captions", [(), ("a red mug", "A red mug.")])
def test_pool_refuses_repetition_and_emptiness(captions: tuple[str, ...]) -> None:
    with pytest.raises(EvaluationError, match="expected one or more without repetition"):
        CaptionPool(captions)


def test_a_pool_of_one_caption_has_no_wrong_answer() -> None:
    alone = CaptionPool(("a red mug",))
    assert not alone.can_retrieve
    assert alone.has("A red mug.")
    assert alone.including("a blue robot").can_retrieve


def test_pool_says_which_caption_is_missing() -> None:
    with pytest.raises(EvaluationError, match="a green dragon"):
        CaptionPool(("a red mug", "a blue robot")).index("a green dragon")


def test_wilson_interval_matches_published_values() -> None:
    # Brown, Cai and DasGupta (2001): 95 % Wilson limits for x = 0 and x = 5 of n = 10.
    assert wilson_interval(0.0, 10, 0.95) == pytest.approx((0.0, 0.27753), abs=1e-4)
    assert wilson_interval(0.5, 10, 0.95) == pytest.approx((0.23659, 0.76341), abs=1e-4)


def test_wilson_interval_keeps_its_width_at_the_ends() -> None:
    low, high = wilson_interval(1.0, 4, 0.95)
    assert low == pytest.approx(0.51011, abs=1e-4)
    assert high == 1.0


def test_ranks_count_the_captions_that_are_as_near() -> None:
    similarity = torch.tensor([[0.5, 0.4, 0.1], [0.2, 0.5, 0.5], [0.9, 0.3, 0.8]])
    assert own_ranks(similarity, 1).tolist() == [2, 2, 3]
    drawn = torch.randn(200, 9, generator=seeding.generator(4, "test"))
    order = drawn.argsort(dim=1, descending=True)
    assert torch.equal(own_ranks(drawn, 5), 1 + torch.nonzero(order == 5)[:, 1])
    own = torch.full((200,), 5)
    assert torch.equal(own_ranks(drawn, 5) == 1, retrieval_hits(drawn, own))
