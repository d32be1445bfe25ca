"""Penalties against closed forms (C12)."""

import math
from collections.abc import Callable

import pytest
import torch

from dreamfusion_kit.optimize.regularizers import (
    entropy_penalty,
    needs_normals,
    opacity_penalty,
    orientation_penalty,
    regularization,
)
from dreamfusion_kit.recipe.schema import LinearSchedule, RegularizersSection
from dreamfusion_kit.records import RenderOutput


@pytest.mark.parametrize(
    ("opacity", "value", "slope"),
    [(0.0, 0.1, 0.0), (0.5, 0.5099020, 0.9805807), (1.0, 1.0049876, 0.9950372)],
)
def test_opacity(opacity: float, value: float, slope: float) -> None:
    rays = torch.full((2, 3, 4), opacity, dtype=torch.float64, requires_grad=True)
    penalty = opacity_penalty(rays)
    penalty.backward()
    assert float(penalty.detach()) == pytest.approx(value, abs=1e-7)
    assert rays.grad is not None
    torch.testing.assert_close(rays.grad * 24, torch.full_like(rays, slope), atol=1e-7, rtol=0)


def test_orientation_is_the_mean_over_rays() -> None:
    assert float(orientation_penalty(torch.tensor([[0.0, 0.25], [0.5, 0.25]]))) == 0.25


def test_entropy_peaks_at_the_half_and_vanishes_at_the_ends() -> None:
    assert float(entropy_penalty(torch.tensor([0.5]))) == pytest.approx(math.log(2))
    expected = -(0.2 * math.log(0.2) + 0.8 * math.log(0.8))
    assert float(entropy_penalty(torch.tensor([0.2, 0.8]))) == pytest.approx(expected)
    assert float(entropy_penalty(torch.tensor([0.0, 1.0]))) < 2e-3


def test_entropy_has_a_finite_slope_everywhere() -> None:
    opacity = torch.linspace(0, 1, 11, requires_grad=True)
    entropy_penalty(opacity).backward()
    assert opacity.grad is not None
    assert opacity.grad.isfinite().all()


def output() -> RenderOutput:
    rays = torch.full((1, 2, 2), 0.5)
    image = torch.zeros(1, 2, 2, 3)
    return RenderOutput(
        image, rays, depth=rays, normals=image, orientation=rays / 2, distortion=rays / 4
    )


def test_the_sum_follows_the_schedules(regularizers: Callable[..., RegularizersSection]) -> None:
    rising = LinearSchedule(start=0.0, end=2.0, from_step=0, to_step=10)
    section = regularizers(
        opacity_lambda=1.0,
        orientation_lambda=rising,
        entropy_lambda=0.5,
        distortion_lambda=2.0,
        smoothness_lambda=0.1,
    )
    for step, orientation_lambda in ((0, 0.0), (5, 1.0), (99, 2.0)):
        expected = 0.5099020 + orientation_lambda * 0.25 + 0.5 * math.log(2) + 2 * 0.125 + 0.1 * 3
        found = regularization(section, output(), lambda: torch.tensor(3.0), step)
        assert float(found) == pytest.approx(expected, abs=1e-6)
        assert needs_normals(section, step) == (orientation_lambda > 0)


def test_what_weighs_nothing_is_not_computed(
    regularizers: Callable[..., RegularizersSection],
) -> None:
    def smoothness() -> torch.Tensor:
        raise AssertionError

    assert float(regularization(regularizers(), output(), smoothness, 0)) == 0
