"""A coarse grid that remembers where a field is empty (Instant-NGP, appendix C)."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from dreamfusion_kit.recipe.schema import OccupancySection


class OccupancyGrid(nn.Module):
    """Cells over the cube around the bounding sphere, each occupied or empty.

    A cell remembers the highest density met in it, faded by `decay` at each update. It is
    occupied where it or a neighbour remembers more than `density_threshold`: the margin
    of one cell lets a surface grow. A cell that was never sampled is occupied, and so
    is every cell up to `warmup_steps`.

    Where cells remember at least their true maximum, skipping the empty ones changes
    any opacity or colour by at most `1 - exp(-density_threshold * 2 * bounding_radius)`.

    The state is in `state_dict()`, except the step, which `set_step` sets: with both,
    a resumed run skips what an uninterrupted one skips.
    """

    remembered: Tensor
    occupied: Tensor

    def __init__(
        self,
        section: OccupancySection,
        bounding_radius: float,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        """Start with every cell occupied."""
        super().__init__()
        self.section = section
        self.bounding_radius = bounding_radius
        self._is_warm = False
        shape = (section.resolution,) * 3
        self.register_buffer("remembered", torch.full(shape, torch.inf, device=device))
        self.register_buffer("occupied", torch.ones(shape, dtype=torch.bool, device=device))

    def set_step(self, step: int) -> None:
        """Set the grid to optimiser step `step`, which decides whether its warm-up is over."""
        self._is_warm = step >= self.section.warmup_steps

    def is_due(self, step: int) -> bool:
        """Return whether the recipe schedules an update at `step`, before its render."""
        return step % self.section.update_every_steps == 0

    @torch.no_grad()
    def update(
        self,
        densities: Callable[[Float[Tensor, "samples 3"]], Float[Tensor, " samples"]],
        *,
        generator: torch.Generator,
    ) -> None:
        """Sample one random point of every cell that touches the sphere."""
        cells = self._cells_in_sphere()
        jitter = torch.rand(cells.shape, generator=generator, device=generator.device)
        points = (cells + jitter) * self._cell_size - self.bounding_radius
        found = torch.zeros_like(self.remembered)
        found[tuple(cells.unbind(dim=-1))] = densities(points)
        faded = torch.where(self.remembered.isinf(), 0.0, self.section.decay * self.remembered)
        self.remembered = torch.maximum(faded, found)
        nearby = torch.nn.functional.max_pool3d(
            self.remembered[None, None], kernel_size=3, stride=1, padding=1
        )
        self.occupied = nearby[0, 0] > self.section.density_threshold

    @torch.no_grad()
    def query(self, positions: Float[Tensor, "*points 3"]) -> Bool[Tensor, "*points"]:
        """Return where the field has to be evaluated; positions lie inside the sphere."""
        if not self._is_warm:
            return torch.ones(positions.shape[:-1], dtype=torch.bool, device=positions.device)
        resolution = self.section.resolution
        cells = ((positions + self.bounding_radius) / self._cell_size).long()
        x, y, z = cells.clamp_(0, resolution - 1).unbind(dim=-1)
        return self.occupied.flatten()[(x * resolution + y) * resolution + z]

    @property
    def _cell_size(self) -> float:
        return 2 * self.bounding_radius / self.section.resolution

    def _cells_in_sphere(self) -> Int[Tensor, "cells 3"]:
        """Return the cells whose point nearest to the origin lies inside the sphere."""
        index = torch.arange(self.section.resolution, device=self.remembered.device)
        middle = (index + 0.5) * self._cell_size - self.bounding_radius
        nearest = (middle.abs() - 0.5 * self._cell_size).clamp_min(0).square()
        squared = nearest[:, None, None] + nearest[:, None] + nearest
        return (squared < self.bounding_radius**2).nonzero()
