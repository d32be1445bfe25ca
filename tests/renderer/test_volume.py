"""Volume rendering against closed forms: fog and a blob of known opacity, depth and colour."""

import math

import pytest
import torch

from dreamfusion_kit.records import Rays
from dreamfusion_kit.renderer.occupancy import OccupancyGrid
from dreamfusion_kit.renderer.ray_penalties import distortion, orientation
from dreamfusion_kit.renderer.volume import render
from dreamfusion_kit.seeding import generator

from .fog import (
    ALBEDO,
    OCCUPANCY,
    RADIUS,
    SECTION,
    SHADED,
    STD,
    TEXTURELESS,
    Blob,
    Fog,
    light_from_above,
    rays_down,
    rendered,
    rendered_with_samples,
    through_centre,
)


@pytest.mark.parametrize("num_samples", [1, 5, 64])
def test_a_ball_of_fog_is_the_closed_form(num_samples: int) -> None:
    output = rendered(Fog(1.3), rays_down(), num_samples=num_samples)
    impact_squared = rays_down().origins[..., :2].square().sum(dim=-1)
    chord = 2 * (1 - impact_squared).clamp_min(0).sqrt()
    opacity = -torch.expm1(-1.3 * chord)
    torch.testing.assert_close(output.opacity, opacity, atol=1e-12, rtol=0)
    albedo = torch.tensor([0.2, 0.5, 1.0], dtype=torch.float64)
    expected = opacity[..., None] * albedo + (1 - opacity[..., None]) * 0.25
    torch.testing.assert_close(output.image, expected, atol=1e-12, rtol=0)


def test_jitter_leaves_homogeneous_fog_unchanged_and_moves_a_blob() -> None:
    plain, moved = rendered(Fog(1.3), rays_down()), rendered(Fog(1.3), rays_down(), step=0)
    torch.testing.assert_close(moved.image, plain.image, atol=1e-12, rtol=0)
    assert not torch.equal(
        rendered(Blob(), rays_down(), step=0).image, rendered(Blob(), rays_down()).image
    )


def test_a_recipe_without_jitter_draws_nothing() -> None:
    random = generator(0, "jitter")
    before = random.get_state()
    render(
        Fog(1.0),
        rays_down(),
        light_from_above(ALBEDO),
        torch.zeros(1, 8, 8, 3, dtype=torch.float64),
        section=SECTION.model_copy(update={"jitter": False}),
        bounding_radius=RADIUS,
        occupancy=None,
        with_normals=False,
        generator=random,
    )
    assert torch.equal(random.get_state(), before)


def test_mean_depth_of_dense_fog_is_the_surface() -> None:
    depth = rendered(Fog(1e4), through_centre(), num_samples=1000).depth
    assert float(depth.detach()) == pytest.approx(2, abs=2e-3)


def test_a_gaussian_blob_has_its_closed_form_depth() -> None:
    output = rendered(Blob(), through_centre(), num_samples=400)
    cut = math.erf(RADIUS / (STD * math.sqrt(2)))
    depth = 8 * STD * math.sqrt(2 * math.pi) * cut
    assert float(output.opacity) == pytest.approx(-math.expm1(-depth), abs=1e-6)


@pytest.mark.parametrize(("mode", "factor"), [(ALBEDO, 1.0), (SHADED, 0.55), (TEXTURELESS, 0.55)])
def test_each_image_has_its_own_mode(mode: tuple[float, float, bool], factor: float) -> None:
    # A light far up the z axis meets this normal at 60 degrees.
    field = Fog(1e5, normal=(math.sin(math.pi / 3), 0, 0.5))
    one = through_centre()
    rays = Rays(one.origins.expand(2, 1, 1, 3), one.directions.expand(2, 1, 1, 3))
    lighting = light_from_above(ALBEDO, mode, height=1e9)
    output, _ = render(
        field,
        rays,
        lighting,
        torch.zeros(2, 1, 1, 3, dtype=torch.float64),
        section=SECTION,
        bounding_radius=RADIUS,
        occupancy=None,
        with_normals=False,
        generator=None,
    )
    albedo = torch.tensor([0.2, 0.5, 1.0], dtype=torch.float64)
    torch.testing.assert_close(output.image[0, 0, 0], albedo)
    expected = factor * (torch.ones_like(albedo) if mode[2] else albedo)
    torch.testing.assert_close(output.image[1, 0, 0], expected, atol=1e-7, rtol=0)


def test_normals_are_computed_only_where_something_needs_them() -> None:
    for modes, wanted, expected in (
        ([ALBEDO], False, False),
        ([ALBEDO], True, True),
        ([SHADED], False, True),
    ):
        field = Fog(1.0)
        output = rendered(field, rays_down(), *modes, with_normals=wanted)
        assert field.asked_for_normals == [expected]
        assert bool((output.normals != 0).any()) == expected


def _empty_grid() -> OccupancyGrid:
    grid = OccupancyGrid(OCCUPANCY, RADIUS)
    grid.set_step(0)
    grid.update(lambda x: torch.zeros(len(x)), generator=generator(0, "grid"))
    return grid


@pytest.mark.parametrize("case", ["no ray meets the sphere", "everything is skipped"])
@pytest.mark.parametrize("mode", [ALBEDO, SHADED])
def test_nothing_to_see_is_background_and_can_be_differentiated(
    case: str, mode: tuple[float, float, bool]
) -> None:
    field = Fog(1.0)
    missed = case == "no ray meets the sphere"
    rays = rays_down(aside=10.0) if missed else rays_down()
    grid = None if missed else _empty_grid()
    output, samples = rendered_with_samples(field, rays, mode, occupancy=grid, with_normals=True)
    assert field.num_samples == [0]
    assert (output.image == 0.25).all()
    for name in ("opacity", "depth", "normals"):
        assert (getattr(output, name) == 0).all(), name
        assert getattr(output, name).requires_grad, name
    penalties = [orientation(samples), distortion(samples)]
    assert all((penalty == 0).all() for penalty in penalties)
    (output.image.sum() + sum(penalty.sum() for penalty in penalties)).backward()
    for parameter in (field.density, field.albedo, field.normal):
        assert parameter.grad is None or (parameter.grad == 0).all()


def test_rays_that_miss_beside_rays_that_meet() -> None:
    output = rendered(Fog(5.0), rays_down())
    outside = rays_down().origins[..., :2].norm(dim=-1) >= 1
    assert outside.any()
    assert (output.image[outside] == 0.25).all()
    assert (output.opacity[~outside] > 0).all()


def test_a_batch_is_its_images_one_by_one() -> None:
    first, second = rays_down(), rays_down(aside=0.3)
    both = Rays(
        torch.cat([first.origins, second.origins]), torch.cat([first.directions, second.directions])
    )
    together = rendered(Blob(), both, ALBEDO, SHADED)
    apart = [rendered(Blob(), first, ALBEDO), rendered(Blob(), second, SHADED)]
    for index, single in enumerate(apart):
        torch.testing.assert_close(together.image[index], single.image[0])
        torch.testing.assert_close(together.depth[index], single.depth[0])


def test_the_image_has_the_gradient_of_finite_differences() -> None:
    def image(density: torch.Tensor, albedo: torch.Tensor, normal: torch.Tensor) -> torch.Tensor:
        field = Fog(0.0)
        field.density, field.albedo, field.normal = density, albedo, normal
        return rendered(field, rays_down(size=3), SHADED, num_samples=4).image

    field = Fog(0.8, normal=(0.1, 0.2, 0.7))
    inputs = (field.density, field.albedo, field.normal)
    assert torch.autograd.gradcheck(image, inputs)


def test_twice_gives_the_same_bytes() -> None:
    first, again = (rendered(Blob(), rays_down(), SHADED, step=4) for _ in range(2))
    assert torch.equal(first.image, again.image)
    assert torch.equal(first.normals, again.normals)
