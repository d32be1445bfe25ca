"""Packed samples against loops over rays; placement in a ball with one occupied half."""

import pytest
import torch

from dreamfusion_kit.recipe.schema import OccupancySection, RendererSection
from dreamfusion_kit.records import Rays
from dreamfusion_kit.renderer.occupancy import OccupancyGrid
from dreamfusion_kit.renderer.ray_samples import Packing, place_samples
from dreamfusion_kit.renderer.sampling import sample_intervals

# Three rays of four intervals; the second has none that is kept.
KEPT = torch.tensor([[0, 1, 1, 0], [0, 0, 0, 0], [1, 1, 0, 1]], dtype=torch.bool)
PACKING = Packing(KEPT.flatten().nonzero()[:, 0], KEPT.sum(dim=-1), num_intervals=4)
VALUES = torch.arange(12, dtype=torch.float64).view(3, 4) + 1


def test_packing_keeps_the_order_of_rays() -> None:
    assert PACKING.ray_indices.tolist() == [0, 0, 2, 2, 2]
    assert PACKING.pack(VALUES)[:, 0].tolist() == [2, 3, 9, 10, 12]


def test_unpacking_puts_values_back_and_0_elsewhere() -> None:
    packed = PACKING.pack(VALUES)[:, 0]
    assert torch.equal(PACKING.unpack(packed), torch.where(KEPT, VALUES, 0.0))


def test_sums_are_those_of_each_ray() -> None:
    packed = PACKING.pack(VALUES)
    found = PACKING.sum_per_ray(torch.cat([packed, 10 * packed], dim=-1))
    assert found.tolist() == [[5, 50], [0, 0], [31, 310]]


OCCUPANCY = OccupancySection(
    resolution=8, update_every_steps=1, warmup_steps=0, decay=0.9, density_threshold=0.01
)
SECTION = RendererSection(
    num_samples=8, jitter=False, footprint="point", near=0.0, beyond=None, occupancy=OCCUPANCY
)


@pytest.mark.parametrize("with_occupancy", [False, True])
def test_samples_are_the_middles_of_intervals_that_may_be_occupied(with_occupancy: bool) -> None:
    """Down the z axis through the unit ball: eight pieces of 0.25, or the four with z > 0."""
    rays = Rays(torch.tensor([[0.0, 0, 3], [9.0, 0, 3]]), torch.tensor([[0.0, 0, -1]] * 2))
    grid = OccupancyGrid(OCCUPANCY, 1.0)
    grid.set_step(0)
    grid.occupied[:, :, :4] = False
    intervals = sample_intervals(rays, 1.0, num_samples=8, near=0.0)
    placed = place_samples(rays, intervals, SECTION, 1.0, grid if with_occupancy else None)
    count = 4 if with_occupancy else 8
    expected = 0.875 - 0.25 * torch.arange(count)
    torch.testing.assert_close(placed.positions[:, 2], expected)
    assert placed.packing.num_per_ray.tolist() == [count, 0]  # the second ray misses the ball
    assert placed.variances is None
    weights = placed.weights(torch.full((count,), 2.0))
    assert weights.shape == (2, 8)
    assert (weights[1] == 0).all()
    opacity = 1 - torch.exp(torch.tensor(-2.0 * 0.25 * count))
    torch.testing.assert_close(weights[0].sum(), opacity)
