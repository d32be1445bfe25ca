"""Noise levels, and the mapping from pictures to a pixel model's space."""

import math
from collections.abc import Callable

import pytest
import torch

from dreamfusion_kit.priors.analytic import cosine_schedule
from dreamfusion_kit.priors.base import NoiseSchedule, to_pixel_space
from dreamfusion_kit.priors.flow import flow_schedule


def flow_level(t: float) -> float:
    return t / math.hypot(1 - t, t)


def cosine_level(u: float) -> float:
    return math.sin(math.pi / 2 * u)


@pytest.mark.parametrize(
    ("schedule", "level"), [(flow_schedule, flow_level), (cosine_schedule, cosine_level)]
)
def test_the_lowest_noise_levels_keep_their_digits(
    schedule: Callable[..., NoiseSchedule], level: Callable[[float], float]
) -> None:
    """Where alpha_bar is 1 in float32 except for its last digits."""
    sigma_t = schedule(1000, "cpu").sigma_t(torch.arange(1000))
    assert sigma_t.dtype == torch.float32
    expected = torch.tensor([level((index + 0.5) / 1000) for index in range(1000)])
    torch.testing.assert_close(sigma_t, expected, rtol=3e-7, atol=0)


def test_without_exact_levels_they_are_the_difference() -> None:
    alpha_bar = torch.tensor([0.9999, 0.5, 0.1])
    found = NoiseSchedule(alpha_bar).sigma_t(torch.tensor([2, 0]))
    assert torch.equal(found, (1 - alpha_bar[[2, 0]]).sqrt())


def test_the_gradient_through_a_resize_adds_up() -> None:
    images = torch.rand(2, 3, 12, 12, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(to_pixel_space(images, 8).sum(), images)
    # Resizing averages: 8x8 pixels' worth of gradient, doubled by the map to [-1, 1].
    torch.testing.assert_close(gradient.sum(), torch.tensor(2.0 * 2 * 3 * 64).double())


def test_the_own_size_is_left_alone() -> None:
    images = torch.rand(1, 3, 8, 8)
    assert torch.equal(to_pixel_space(images, 8), images * 2 - 1)
