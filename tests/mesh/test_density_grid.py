"""The lattice: where the field is queried, what closes the surface, what is filled."""

import numpy as np
import pytest
import torch

from dreamfusion_kit.errors import MeshError
from dreamfusion_kit.mesh.density_grid import fill_cavities, sample_density_grid


def sample(densities, cpu, *, resolution=17, bounding_radius=1.5):
    return sample_density_grid(
        densities, bounding_radius=bounding_radius, resolution=resolution, device=cpu
    )


def test_values_stand_at_their_positions(cpu):
    grid = sample(lambda positions: 2 + positions @ torch.tensor([1.0, 0.1, 0.01]), cpu)
    i, j, k = 5, 9, 12
    x, y, z = (-1.5 + index * grid.spacing for index in (i, j, k))
    assert grid.values[i, j, k] == pytest.approx(2 + x + 0.1 * y + 0.01 * z, abs=1e-6)


def test_the_field_is_never_asked_outside_the_ball(cpu):
    asked = []

    def densities(positions):
        asked.append(positions)
        return torch.ones(len(positions))

    grid = sample(densities, cpu)
    assert torch.cat(asked).norm(dim=-1).max() < 1.5
    assert len(torch.cat(asked)) == grid.sampled.sum() == grid.values.sum()


@pytest.mark.parametrize("resolution", [3, 16, 17])
def test_the_outermost_layer_is_empty(cpu, resolution):
    grid = sample(lambda positions: torch.ones(len(positions)), cpu, resolution=resolution)
    interior = grid.values[1:-1, 1:-1, 1:-1].sum()
    assert grid.values.sum() == interior > 0


def test_no_gradient_is_recorded(cpu):
    weight = torch.ones((), requires_grad=True)
    recorded = []

    def densities(positions):
        answer = weight * positions.norm(dim=-1)
        recorded.append(answer.requires_grad)
        return answer

    sample(densities, cpu)
    assert not any(recorded)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_damaged_densities_are_refused(cpu, value):
    with pytest.raises(MeshError, match="negative or not finite"):
        sample(lambda positions: torch.full((len(positions),), value), cpu)


def test_a_lattice_without_interior_is_refused(cpu):
    with pytest.raises(MeshError, match="grid_resolution: 2"):
        sample(lambda positions: torch.ones(len(positions)), cpu, resolution=2)


def test_a_cavity_is_filled_and_a_bay_is_not(cpu, solid):
    def shell_with_and_without_a_hole(hole_radius):
        def distance(positions):
            shell = (positions.norm(dim=-1) - 0.8).abs() - 0.3
            tunnel = positions[:, :2].norm(dim=-1) - hole_radius
            is_upper = positions[:, 2] > 0
            return torch.where(is_upper, torch.maximum(shell, -tunnel), shell)

        return sample(solid(distance), cpu, resolution=33)

    closed, filled = fill_cavities(shell_with_and_without_a_hole(-1.0), 25.0)
    assert filled > 0
    assert closed.values[16, 16, 16] > 25.0
    opened, filled = fill_cavities(shell_with_and_without_a_hole(0.3), 25.0)
    assert filled == 0
    assert opened.values[16, 16, 16] < 25.0


def test_filling_keeps_every_other_value(cpu, solid, sphere):
    grid = sample(solid(sphere(0.7)), cpu)
    filled, count = fill_cavities(grid, 25.0)
    assert count == 0
    np.testing.assert_array_equal(filled.values, grid.values)
