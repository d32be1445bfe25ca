"""One scale: what a lambda means at every size, and what old lambdas are now."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch

from dreamfusion_kit.optimize.loss import total_loss
from dreamfusion_kit.optimize.penalties import sum_of, weighted_penalties
from dreamfusion_kit.recipe.schema import PenaltiesSection
from dreamfusion_kit.records import GuidanceOutput
from dreamfusion_kit.renderer.ray_samples import Packing, RaySamples

CPU = torch.device("cpu")
OLD = {"opacity_lambda": 4.0, "entropy_lambda": 8.0, "distortion_lambda": 41.0}


def drawn(*shape: int) -> torch.Tensor:
    return torch.rand(
        shape, generator=torch.Generator().manual_seed(len(shape)), dtype=torch.float64
    )


def test_an_old_recipes_numbers_divided_by_the_pixels_give_the_old_loss(
    penalties: Callable[..., PenaltiesSection],
) -> None:
    """Until then the guidance was a sum over pixels, and the penalties were means over rays."""
    views, side = 2, 64
    residual = drawn(views, 3, side, side) - 0.5
    images = drawn(views, 3, side, side).requires_grad_()
    weights = (drawn(views * side**2, 4) / 4).requires_grad_()
    opacity = weights.sum(dim=-1).view(views, side, side)

    old = (residual / views * images).sum()
    old = old + OLD["opacity_lambda"] * (opacity**2 + 0.01).sqrt().mean()
    entropy = -(opacity * opacity.log() + (1 - opacity) * (1 - opacity).log())
    old = old + OLD["entropy_lambda"] * entropy.mean()
    # mip-NeRF 360, eq. 15, for four equal pieces of the way from 0 to 1.
    middles = (torch.arange(4, dtype=torch.float64) + 0.5) / 4
    pairs = weights[:, :, None] * weights[:, None, :] * (middles[:, None] - middles).abs()
    spread = pairs.sum(dim=(1, 2)) + (weights**2 / 4).sum(dim=-1) / 3
    old = old + OLD["distortion_lambda"] * spread.mean()
    expected = torch.autograd.grad(old, (images, weights), retain_graph=True)

    section = penalties(**{key: number / side**2 for key, number in OLD.items()})
    samples = RaySamples(
        directions=torch.zeros(len(weights), 3),
        weights=weights,
        edges=None,
        proposed_weights=None,
        packing=Packing(torch.arange(0), torch.zeros(len(weights), dtype=torch.int64), 4),
        normals=None,
    )
    terms = weighted_penalties(section, opacity, samples, Plain(), 0)
    guidance = GuidanceOutput(residual / views / side**2, None, torch.zeros(views))
    loss = total_loss(guidance, images, opacity, sum_of(terms, CPU))
    found = torch.autograd.grad(loss, (images, weights))
    torch.testing.assert_close(loss, old, rtol=1e-6, atol=0)
    for gradient, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-6, atol=1e-12)


class Plain:
    """A model without penalties of its own."""

    interlevel_lambda = 0.0

    def smoothness(self) -> torch.Tensor:
        raise AssertionError


def test_a_guidance_may_also_pull_on_the_opacity() -> None:
    images = drawn(1, 3, 2, 2).requires_grad_()
    opacity = drawn(1, 2, 2).requires_grad_()
    guidance = GuidanceOutput(drawn(1, 3, 2, 2), drawn(1, 2, 2) - 0.5, torch.zeros(1))
    zero = torch.zeros((), dtype=torch.float64)
    total_loss(guidance, images, opacity, zero).backward()
    bare = dataclasses.replace(guidance, opacity_gradient=None)
    without = drawn(1, 2, 2).requires_grad_()
    total_loss(bare, images.detach(), without, zero.clone().requires_grad_()).backward()
    assert without.grad is None
    assert images.grad is not None
    assert opacity.grad is not None
    torch.testing.assert_close(images.grad, 4096 * guidance.gradient)
    torch.testing.assert_close(opacity.grad, 4096 * (drawn(1, 2, 2) - 0.5))


@pytest.mark.parametrize(("views", "side"), [(1, 8), (1, 64), (4, 8)])
def test_doubling_an_image_or_a_batch_leaves_the_balance(
    penalties: Callable[..., PenaltiesSection], views: int, side: int
) -> None:
    """One shade of grey everywhere: its total pull from each term does not know the size."""
    level = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    opacity = level.expand(views, side, side)
    images = level.expand(views, 3, side, side)
    guidance = GuidanceOutput(
        torch.full((views, 3, side, side), 0.7, dtype=torch.float64) / views / side**2,
        None,
        torch.zeros(views),
    )
    terms = weighted_penalties(penalties(opacity_lambda=0.001), opacity, *unread(), 0)
    total_loss(guidance, images, opacity, sum_of(terms, CPU)).backward()
    assert level.grad is not None
    slope = 0.4 / (0.4**2 + 0.01) ** 0.5
    assert float(level.grad) == pytest.approx(4096 * (3 * 0.7 + 0.001 * slope), rel=1e-12)


def unread() -> tuple[Any, Any]:
    bare = RaySamples(
        torch.zeros(0, 3),
        torch.zeros(0, 1),
        None,
        None,
        Packing(torch.arange(0), torch.arange(0), 1),
        None,
    )
    return bare, Plain()
