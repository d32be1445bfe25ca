"""Noise levels keep their digits."""

import math
from collections.abc import Callable

import pytest
import torch

from dreamfusion_kit.priors.analytic import cosine_schedule
from dreamfusion_kit.priors.flow import flow_schedule
from dreamfusion_kit.priors.noise_schedule import NoiseSchedule


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
