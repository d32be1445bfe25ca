"""Penalties against closed forms (C12)."""

import math
from collections.abc import Callable

import pytest
import torch

from dreamfusion_kit.optimize.penalties import (
    entropy_penalty,
    needs_normals,
    opacity_penalty,
    sum_of,
    weighted_penalties,
)
from dreamfusion_kit.recipe.schema import LinearSchedule, PenaltiesSection
from dreamfusion_kit.renderer import ray_penalties
from dreamfusion_kit.renderer.ray_samples import Packing, RaySamples


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


class Model:
    """A model whose own penalties are numbers."""

    def __init__(self, interlevel_lambda: float = 0.0) -> None:
        self.interlevel_lambda = interlevel_lambda

    def smoothness(self) -> torch.Tensor:
        return torch.tensor(3.0)


OPACITY = torch.full((1, 2, 2), 0.5)


def samples(normals: bool = True, proposed: bool = True) -> RaySamples:
    """Return four rays of two samples each, of weights 0.4 and 0.1, seen along -z.

    The first sample's normal faces away fully, the second's at 60 degrees: orientation is
    0.4 + 0.1 / 4. Distances are even: distortion is 2 (0.4)(0.1)(0.5) + (0.16 + 0.01) / 6.
    Proposed are 0.2 and 0.1: the interlevel loss is 0.2^2 / 0.4.
    """
    facing = torch.tensor([[0, 0, -1.0], [math.sqrt(0.75), 0, -0.5]])
    return RaySamples(
        directions=torch.tensor([0, 0, -1.0]).expand(4, 3),
        weights=torch.tensor([0.4, 0.1]).expand(4, 2),
        edges=torch.tensor([0.0, 0.5, 1.0]).expand(4, 3),
        proposed_weights=torch.tensor([0.2, 0.1]).expand(4, 2).contiguous() if proposed else None,
        packing=Packing(torch.arange(8), torch.full((4,), 2), num_intervals=2),
        normals=facing.repeat(4, 1) if normals else None,
    )


def test_the_sum_follows_the_schedules(penalties: Callable[..., PenaltiesSection]) -> None:
    rising = LinearSchedule(start=0.0, end=2.0, from_step=0, to_step=10)
    section = penalties(
        opacity_lambda=1.0,
        orientation_lambda=rising,
        entropy_lambda=0.5,
        distortion_lambda=2.0,
        smoothness_lambda=0.1,
    )
    distortion = 0.04 + 0.17 / 6
    others = 0.5099020 + 0.5 * math.log(2) + 2 * distortion + 0.1 * 3 + 0.7 * 0.1
    for step, orientation_lambda in ((0, 0.0), (5, 1.0), (99, 2.0)):
        terms = weighted_penalties(section, OPACITY, samples(), Model(0.7), step)
        expected = others + orientation_lambda * 0.425
        assert float(sum_of(terms, OPACITY.device)) == pytest.approx(expected, abs=1e-6)
        assert ("orientation" in terms) == (orientation_lambda > 0)
        assert needs_normals(section, step) == (orientation_lambda > 0)


def test_what_weighs_nothing_is_not_computed(
    penalties: Callable[..., PenaltiesSection], monkeypatch: pytest.MonkeyPatch
) -> None:
    def computed(*_: object) -> torch.Tensor:
        raise AssertionError

    for name in ("orientation", "distortion", "interlevel"):
        monkeypatch.setattr(ray_penalties, name, computed)
    monkeypatch.setattr(Model, "smoothness", computed)
    bare = samples(normals=False, proposed=False)
    assert weighted_penalties(penalties(), OPACITY, bare, Model(), 0) == {}
    assert float(sum_of({}, OPACITY.device)) == 0
