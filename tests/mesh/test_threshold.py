"""The threshold rules, against spheres of known size."""

import numpy as np
import pytest
import torch

from dreamfusion_kit.errors import MeshError
from dreamfusion_kit.mesh.density_grid import sample_density_grid
from dreamfusion_kit.mesh.threshold import surface_threshold
from dreamfusion_kit.recipe.schema import AdaptiveThresholdSection, FixedThresholdSection

ADAPTIVE = AdaptiveThresholdSection(kind="adaptive", fraction=0.5)


def sample(densities, cpu, bounding_radius=1.0):
    return sample_density_grid(
        densities, bounding_radius=bounding_radius, resolution=48, device=cpu
    )


def radius_above(grid, threshold):
    """Return the radius of the ball whose volume is that of the points above the threshold."""
    volume = (grid.values > threshold).sum() * grid.spacing**3
    return (volume * 3 / (4 * np.pi)) ** (1 / 3)


@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0, 1000.0])
@pytest.mark.parametrize("width", [0.005, 0.02, 0.04])
@pytest.mark.parametrize("radius", [0.4, 0.8])
def test_adaptive_recovers_a_sphere_at_any_density_and_sharpness(
    cpu, solid, sphere, scale, width, radius
):
    grid = sample(solid(sphere(radius), scale=scale, width=width), cpu)
    threshold = surface_threshold(ADAPTIVE, grid)
    assert radius_above(grid, threshold) == pytest.approx(radius, rel=0.06)


def test_adaptive_scales_with_the_density(cpu, solid, sphere):
    grid = sample(solid(sphere(0.6)), cpu)
    thousand = sample(solid(sphere(0.6), scale=50_000.0), cpu)
    ratio = surface_threshold(ADAPTIVE, thousand) / surface_threshold(ADAPTIVE, grid)
    assert ratio == pytest.approx(1000, rel=1e-4)


def test_adaptive_ignores_a_few_extreme_densities(cpu, solid, sphere):
    def spiked(positions):
        spike = 1e4 * (positions.norm(dim=-1) < 0.1)
        return solid(sphere(0.6))(positions) + spike

    grid = sample(spiked, cpu)
    assert radius_above(grid, surface_threshold(ADAPTIVE, grid)) == pytest.approx(0.6, rel=0.05)


def test_adaptive_ignores_thin_fog(cpu, solid, sphere):
    grid = sample(lambda positions: solid(sphere(0.6))(positions) + 1.0, cpu)
    assert radius_above(grid, surface_threshold(ADAPTIVE, grid)) == pytest.approx(0.6, rel=0.05)


def test_adaptive_solves_its_equation(cpu, solid, sphere):
    grid = sample(solid(sphere(0.6), width=0.05), cpu)
    threshold = surface_threshold(AdaptiveThresholdSection(kind="adaptive", fraction=0.3), grid)
    densities = grid.values[grid.sampled]
    solid_level = np.median(densities[densities > threshold])
    empty_level = np.median(densities[densities <= threshold])
    expected = empty_level + 0.3 * (solid_level - empty_level)
    assert threshold == pytest.approx(expected, rel=1e-5)


def test_fixed_is_taken_as_it_is(cpu, solid, sphere):
    fixed = FixedThresholdSection(kind="fixed", density=12.5)
    assert surface_threshold(fixed, sample(solid(sphere(0.6)), cpu)) == 12.5


def test_fixed_above_the_field_names_the_highest_density(cpu, solid, sphere):
    grid = sample(solid(sphere(0.6), scale=3.2, width=0.002), cpu)
    with pytest.raises(MeshError) as caught:
        surface_threshold(FixedThresholdSection(kind="fixed", density=10.0), grid)
    assert str(caught.value) == (
        "mesh: no surface at density 10: the highest density found is 3.2; "
        "lower mesh.threshold.density below it, or use kind: adaptive"
    )


@pytest.mark.parametrize("highest", [0.0, 0.001])
def test_an_empty_field_names_the_highest_density(cpu, solid, sphere, highest):
    grid = sample(solid(sphere(0.6), scale=highest, width=0.002), cpu)
    with pytest.raises(MeshError) as caught:
        surface_threshold(ADAPTIVE, grid)
    assert str(caught.value) == (
        f"mesh: the field is empty: the highest density found is {highest:.4g}, visible is "
        "0.005 or more; optimise for longer (optimize.num_steps) or lower "
        "optimize.penalties.opacity_lambda"
    )


def test_uniform_fog_has_no_surface(cpu):
    grid = sample(lambda positions: torch.full((len(positions),), 4.0), cpu)
    with pytest.raises(MeshError, match="highest density found, 4, is also the lowest"):
        surface_threshold(ADAPTIVE, grid)


def test_a_small_object_in_uniform_fog_is_found(cpu, sphere):
    def densities(positions):
        return 1.0 + 50.0 * (sphere(0.15)(positions) < 0)

    threshold = surface_threshold(ADAPTIVE, sample(densities, cpu))
    assert threshold == pytest.approx(1.0 + 0.5 * 50.0)
