"""Perp-Neg against the formula written out for one image at a time."""

from collections.abc import Callable

import pytest
import torch

from dreamfusion_kit.guidance.perp_neg import (
    combine_perpendicular,
    interpolate,
    perpendicular_part,
    view_mix,
)
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe.schema import PerpNegSection, ViewPromptsSection

SECTION = PerpNegSection(
    front_at_side=(4.0, 0.5, -2.426),
    side_at_front=(4.0, 0.5, -2.426),
    side_at_back=(1.0, 0.5, -0.606),
    front_at_back=(1.0, 0.5, 0.967),
)


def noise(seed: int, batch: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, 4, 4, generator=generator, dtype=torch.float64)


def one_by_one(
    unconditional: torch.Tensor,
    conditional: torch.Tensor,
    negatives: list[torch.Tensor],
    weights: torch.Tensor,
    scale: float,
) -> torch.Tensor:
    results: list[torch.Tensor] = []
    for row in range(len(unconditional)):
        positive = (conditional[row] - unconditional[row]).flatten()
        total = positive.clone()
        for index, predicted in enumerate(negatives):
            away = (predicted[row] - unconditional[row]).flatten()
            cosine_part = torch.dot(away, positive) / torch.dot(positive, positive) * positive
            total -= weights[row, index] * (away - cosine_part)
        results.append(unconditional[row] + scale * total.reshape(unconditional[row].shape))
    return torch.stack(results)


def test_a_batch_is_its_images_one_by_one() -> None:
    weights = torch.tensor([[0.5, 1.5], [0.0, 2.0], [1.0, 0.0], [0.3, 0.3]], dtype=torch.float64)
    parts = noise(0), noise(1), [noise(2), noise(3)], weights, 7.5
    torch.testing.assert_close(combine_perpendicular(*parts), one_by_one(*parts))
    for row in range(4):
        own = slice(row, row + 1)
        alone = combine_perpendicular(
            parts[0][own], parts[1][own], [p[own] for p in parts[2]], weights[own], 7.5
        )
        torch.testing.assert_close(alone, combine_perpendicular(*parts)[own])


def test_nothing_is_left_along_the_positive() -> None:
    away, toward = noise(0), noise(1)
    perpendicular = perpendicular_part(away, toward)
    inner = (perpendicular * toward).sum(dim=(1, 2, 3))
    torch.testing.assert_close(inner, torch.zeros_like(inner), atol=1e-12, rtol=0)
    parallel = perpendicular_part(-2.5 * toward, toward)
    torch.testing.assert_close(parallel, torch.zeros_like(parallel), atol=1e-12, rtol=0)


def test_the_worked_example() -> None:
    """C14: e_pos = (1, 0), e_neg = (1, 1), s = 7.5, w = 1 gives (7.5, -7.5)."""

    def pixels(*values: float) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float64).reshape(1, 1, 1, 2)

    found = combine_perpendicular(
        pixels(0, 0), pixels(1, 0), [pixels(1, 1)], torch.ones(1, 1, dtype=torch.float64), 7.5
    )
    torch.testing.assert_close(found, pixels(7.5, -7.5))


def test_equal_predictions_divide_by_nothing() -> None:
    same = noise(0)
    found = combine_perpendicular(same, same, [noise(1)], torch.zeros(4, 1).double(), 7.5)
    torch.testing.assert_close(found, same)


@pytest.mark.parametrize(
    ("azimuth_deg", "nearer", "farther", "share", "weights"),
    [
        (0.0, "front", "left", 1.0, (0.0001227, 1.574)),
        (45.0, "front", "left", 0.5, (0.6892031, 0.6892031)),
        (-45.0, "front", "right", 0.5, (0.6892031, 0.6892031)),
        (89.999, "front", "left", 0.0, (1.574, 0.00012)),
        (90.0, "left", "back", 1.0, (0.0005307, 1.5735307)),
        (270.0, "right", "back", 1.0, (0.0005307, 1.5735307)),
        (180.0, "left", "back", 0.0, (0.394, 1.967)),
    ],
)
def test_texts_and_weights_around_the_object(
    view_prompts: Callable[..., ViewPromptsSection],
    azimuth_deg: float,
    nearer: str,
    farther: str,
    share: float,
    weights: tuple[float, float],
) -> None:
    mix = view_mix(SECTION, view_prompts(), azimuth_deg, 10.0)
    assert (mix.nearer, mix.farther) == (nearer, farther)
    assert mix.share == pytest.approx(share, abs=1e-4)
    assert mix.weights == pytest.approx(weights, abs=1e-4)
    assert mix.negatives == ((nearer, farther) if nearer == "front" else (nearer, "front"))


def test_from_above_nothing_is_mixed_or_repelled(
    view_prompts: Callable[..., ViewPromptsSection],
) -> None:
    mix = view_mix(SECTION, view_prompts(), 30.0, 70.0)
    assert (mix.nearer, mix.share, mix.weights) == ("overhead", 1.0, (0.0, 0.0))


def test_features_are_mixed_row_by_row() -> None:
    first = TextFeatures({"hidden": torch.ones(2, 3, 5)})
    second = TextFeatures({"hidden": torch.full((2, 3, 5), 3.0)})
    mixed = interpolate(first, second, torch.tensor([1.0, 0.25])).tensors["hidden"]
    torch.testing.assert_close(mixed[0], torch.ones(3, 5))
    torch.testing.assert_close(mixed[1], torch.full((3, 5), 2.5))


def test_masks_are_united_where_both_texts_count() -> None:
    first = TextFeatures({"mask": torch.tensor([[True, True, False]] * 3)})
    second = TextFeatures({"mask": torch.tensor([[True, False, True]] * 3)})
    mixed = interpolate(first, second, torch.tensor([1.0, 0.5, 0.0])).tensors["mask"]
    assert mixed.dtype == torch.bool
    assert mixed.tolist() == [[True, True, False], [True, True, True], [True, False, True]]
