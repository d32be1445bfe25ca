"""Penalties on rays against closed forms, from renders of homogeneous fog."""

import math

import pytest
import torch

from dreamfusion_kit.recipe.schema import RendererSection
from dreamfusion_kit.records import FieldSample, Lighting, Rays
from dreamfusion_kit.renderer.ray_penalties import distortion, interlevel, orientation
from dreamfusion_kit.renderer.ray_samples import RaySamples
from dreamfusion_kit.renderer.volume import Proposal, render

from .fog import OCCUPANCY, RADIUS, Wall


class Fog:
    """Constant density; its normal is the same everywhere."""

    def __init__(self, density: float, normal: tuple[float, float, float] = (0, 0, 1)) -> None:
        self.density = torch.tensor(density, dtype=torch.float64, requires_grad=True)
        self.normal = torch.tensor(normal, dtype=torch.float64, requires_grad=True)

    def __call__(
        self, positions: torch.Tensor, with_normals: bool, variances: torch.Tensor | None
    ) -> FieldSample:
        count = len(positions)
        normals = self.normal.expand(count, 3) if with_normals else None
        return FieldSample(self.density.expand(count), torch.ones_like(positions), normals)


def _samples(
    field: Fog,
    *x: float,
    num_samples: int = 64,
    proposal: Proposal | None = None,
    with_normals: bool = True,
) -> RaySamples:
    """Return what rays down the z axis at y = 0 found; without x, the one through the centre."""
    offsets = torch.tensor(x or (0.0,), dtype=torch.float64)
    origins = torch.stack([offsets, 0 * offsets, 0 * offsets + 3], dim=-1)[None, None]
    directions = torch.tensor([0, 0, -1], dtype=torch.float64).expand_as(origins)
    one = torch.ones(1, dtype=torch.float64)
    lighting = Lighting(10 * torch.ones(1, 3).double(), one, 0 * one, torch.tensor([False]))
    section = RendererSection(
        num_samples=num_samples,
        jitter=False,
        footprint="point",
        near=0.0,
        beyond=None,
        occupancy=OCCUPANCY,
    )
    _, samples = render(
        field,
        Rays(origins, directions),
        lighting,
        torch.zeros_like(origins),
        section=section,
        bounding_radius=RADIUS,
        occupancy=None,
        with_normals=with_normals,
        generator=None,
        proposal=proposal,
    )
    return samples


@pytest.mark.parametrize(
    ("normal", "penalty"),
    [((0, 0, -1), 1.0), ((0, 0, 1), 0.0), ((math.sin(math.pi / 3), 0, -0.5), 0.25)],
)
def test_orientation_of_an_opaque_surface(
    normal: tuple[float, float, float], penalty: float
) -> None:
    """Check C11: the ray looks along -z; n = v gives 1, n = -v gives 0, 60 degrees 0.25."""
    field = Fog(1e6, normal=normal)
    found = orientation(_samples(field)).detach()
    assert found.tolist() == pytest.approx([penalty], abs=1e-9)


def test_orientation_sends_nothing_to_the_weights() -> None:
    field = Fog(0.7, normal=(0, 0.6, -0.8))
    penalty = orientation(_samples(field, -0.5, 0.0, 0.5)).sum()
    gradients = torch.autograd.grad(penalty, [field.density, field.normal], allow_unused=True)
    assert gradients[0] is None or float(gradients[0]) == 0
    assert gradients[1] is not None
    assert (gradients[1] != 0).any()


def test_orientation_of_thin_fog_is_its_opacity() -> None:
    """Rays at x have chords of 2 sqrt(1 - x^2); each sample's normal faces away fully."""
    x = (-0.6, 0.0, 0.8, 2.0)
    found = orientation(_samples(Fog(0.7, normal=(0, 0, -1)), *x)).detach()
    chords = [2 * math.sqrt(max(1 - offset**2, 0)) for offset in x]
    expected = [-math.expm1(-0.7 * chord) for chord in chords]
    assert found.tolist() == pytest.approx(expected, abs=1e-12)


def test_a_penalty_without_what_it_reads_is_refused() -> None:
    samples = _samples(Fog(1.0), with_normals=False)
    with pytest.raises(ValueError, match="found no normals"):
        orientation(samples)
    with pytest.raises(ValueError, match="found no proposed weights"):
        interlevel(samples)


def test_distortion_of_a_thin_and_of_a_thick_fog() -> None:
    thin = distortion(_samples(Fog(0.01))).detach()
    assert float(thin) == pytest.approx((1 - math.exp(-0.02)) ** 2 / 3, rel=1e-3)
    wall = distortion(_samples(Fog(1e6))).detach()
    assert float(wall) == pytest.approx(1 / (3 * 64), rel=1e-6)


def test_distortion_is_measured_over_even_distances_however_samples_were_chosen() -> None:
    thin = distortion(_samples(Fog(1e-3), num_samples=8, proposal=Wall(2.0)))
    assert float(thin.detach()) == pytest.approx((2e-3) ** 2 / 3, rel=5e-3)


def test_the_interlevel_loss_moves_the_proposal_and_not_the_field() -> None:
    field, proposal = Fog(3.0), Wall(0.1)
    loss = interlevel(_samples(field, num_samples=8, proposal=proposal)).sum()
    assert float(loss.detach()) > 0.1
    moved = torch.autograd.grad(loss, [field.density, proposal.density], allow_unused=True)
    assert moved[0] is None
    assert moved[1] is not None
    assert float(moved[1]) < 0  # more density would bound more
