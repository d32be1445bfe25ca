"""Where the volume renderer asks a field: empty space, far space, cones and proposals."""

import math

import pytest
import torch

from dreamfusion_kit.recipe.schema import UnboundedSection
from dreamfusion_kit.records import FieldSample, Rays, RenderOutput, SampleField
from dreamfusion_kit.renderer.occupancy import OccupancyGrid
from dreamfusion_kit.renderer.ray_samples import RaySamples
from dreamfusion_kit.renderer.volume import render
from dreamfusion_kit.seeding import generator

from .fog import (
    ALBEDO,
    OCCUPANCY,
    RADIUS,
    SECTION,
    SHADED,
    Blob,
    Fog,
    Wall,
    light_from_above,
    rays_down,
    rendered,
    through_centre,
)


def _occupancy_of_blob() -> OccupancyGrid:
    grid = OccupancyGrid(OCCUPANCY, RADIUS)
    grid.set_step(0)
    for step in range(8):
        grid.update(
            lambda x: Blob()(x, False, None).densities, generator=generator(0, "grid", step)
        )
    return grid


def test_skipping_empty_space_changes_less_than_its_bound() -> None:
    grid = _occupancy_of_blob()
    counts: list[int] = []

    def counted(
        positions: torch.Tensor, with_normals: bool, variances: torch.Tensor | None
    ) -> FieldSample:
        counts.append(len(positions))
        return Blob()(positions, with_normals, variances)

    whole = rendered(counted, rays_down(), SHADED)
    sparse = rendered(counted, rays_down(), SHADED, occupancy=grid)
    assert counts[1] < 0.8 * counts[0]
    bound = -math.expm1(-OCCUPANCY.density_threshold * 2 * RADIUS)
    assert float((whole.image - sparse.image).abs().max()) <= bound
    assert float((whole.opacity - sparse.opacity).abs().max()) <= bound


def _everywhere(density: float) -> SampleField:
    """Return fog of one density without an end."""

    def sample(
        positions: torch.Tensor, with_normals: bool, variances: torch.Tensor | None
    ) -> FieldSample:
        fog = torch.full_like(positions[:, 0], density)
        return FieldSample(fog, torch.ones_like(positions), None)

    return sample


@pytest.mark.parametrize("with_occupancy", [False, True])
def test_fog_behind_the_sphere_is_seen_where_the_recipe_says_so(with_occupancy: bool) -> None:
    """From the centre: 1 unit of fog to the sphere, and 9 more to the far distance."""
    rays = Rays(torch.zeros(1, 1, 1, 3).double(), torch.tensor([[[[0, 0, 1.0]]]]).double())
    occupancy = OccupancyGrid(OCCUPANCY, RADIUS) if with_occupancy else None
    if occupancy is not None:
        occupancy.set_step(10)
        empty = torch.zeros_like(occupancy.occupied)
        occupancy.occupied = empty  # it says that the whole sphere can be skipped
    inside = 0.0 if with_occupancy else 1.0
    scene = UnboundedSection(num_samples=5, far=10.0, proposal=None)
    for beyond, length in ((None, inside), (scene, inside + 9)):
        output = rendered(_everywhere(0.2), rays, beyond=beyond, occupancy=occupancy)
        assert float(output.opacity) == pytest.approx(-math.expm1(-0.2 * length), abs=1e-12)


def test_a_cone_asks_about_the_frustums_of_its_pixel() -> None:
    """Down the z axis from 3: two pieces of the sphere, t in [2, 3] and [3, 4]."""
    asked: list[tuple[torch.Tensor, torch.Tensor]] = []

    def sample(
        positions: torch.Tensor, with_normals: bool, variances: torch.Tensor | None
    ) -> FieldSample:
        assert variances is not None
        asked.append((positions, variances))
        return FieldSample(torch.ones_like(positions[:, 0]), torch.ones_like(positions), None)

    line = through_centre()
    rays = Rays(line.origins, line.directions, torch.full((1, 1, 1), 0.2, dtype=torch.float64))
    section = SECTION.model_copy(update={"num_samples": 2, "jitter": False, "footprint": "cone"})
    output, _ = render(
        sample,
        rays,
        light_from_above(ALBEDO),
        torch.zeros(1, 1, 1, 3, dtype=torch.float64),
        section=section,
        bounding_radius=RADIUS,
        occupancy=None,
        with_normals=False,
        generator=None,
    )
    assert float(output.opacity) == pytest.approx(-math.expm1(-2.0))
    ((positions, variances),) = asked
    # Moments of t^2 over [2, 3] and [3, 4], by hand: (3 / 4) (b^4 - a^4) / (b^3 - a^3), and so on.
    means = torch.tensor([0.75 * 65 / 19, 0.75 * 175 / 37], dtype=torch.float64)
    squares = torch.tensor([0.6 * 211 / 19, 0.6 * 781 / 37], dtype=torch.float64)
    torch.testing.assert_close(positions[:, 2], 3 - means)
    torch.testing.assert_close(variances[:, 2], squares - means**2)
    torch.testing.assert_close(variances[:, :2], (0.01 * squares)[:, None].expand(2, 2))


def _with_proposal(
    field: SampleField, proposal: Wall | None, rays: Rays
) -> tuple[RenderOutput, RaySamples]:
    return render(
        field,
        rays,
        light_from_above(ALBEDO),
        torch.full(rays.origins.shape, 0.25, dtype=torch.float64),
        section=SECTION.model_copy(update={"num_samples": 8}),
        bounding_radius=RADIUS,
        occupancy=None,
        with_normals=False,
        generator=None,
        proposal=proposal,
    )


def test_the_field_is_asked_where_the_proposal_sees_something() -> None:
    """Eight pieces over z from 1 to -1: the wall fills four, and dilation adds one on each side."""
    asked: list[torch.Tensor] = []

    def sample(
        positions: torch.Tensor, with_normals: bool, variances: torch.Tensor | None
    ) -> FieldSample:
        asked.append(positions)
        return Fog(1.0)(positions, with_normals, variances)

    _with_proposal(sample, Wall(2.0), through_centre())
    (positions,) = asked
    assert len(positions) == 12
    assert (positions[1:, 2] < positions[:-1, 2]).all()
    assert int((positions[:, 2].abs() < 0.75).sum()) >= 11


def test_fog_looks_alike_however_its_samples_were_chosen() -> None:
    """Homogeneous fog has one closed form, and pieces of any length give it."""
    (even, _), (chosen, _) = (_with_proposal(Fog(1.3), p, rays_down()) for p in (None, Wall(2.0)))
    torch.testing.assert_close(chosen.image, even.image, atol=1e-12, rtol=0)


def test_the_image_sends_nothing_to_the_proposal() -> None:
    proposal = Wall(0.1)
    output, _ = _with_proposal(Fog(3.0), proposal, through_centre())
    moved = torch.autograd.grad(output.image.sum(), [proposal.density], allow_unused=True)
    assert moved[0] is None
