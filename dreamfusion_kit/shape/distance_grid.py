"""Signed distances and small offsets at the points of a lattice, whose zero level is a surface.

Departs from DMTet and FlexiCubes in how the distances are stored: a grid from the coarse surface,
which stays, plus the sum of grids of rising resolution. Adam moves every number by about its step
size whatever its gradient. Single numbers of a fine grid then go their own ways and make a surface
bumpy; a number of a coarse grid moves a part as one.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dreamfusion_kit.field.base import ParameterGroup
from dreamfusion_kit.recipe.schema import DmtetSection, FlexicubesSection
from dreamfusion_kit.shape.lattice import lattice, outermost
from dreamfusion_kit.shape.representation import Representation
from dreamfusion_kit.shape.start import Start

_LEAST_DISTANCE = 1e-3  # of a cell, outside, at the lattice's border: every surface is closed
_COARSEST = 3  # points per axis


class DistanceGrid(Representation):
    """What `Dmtet` and `Flexicubes` share; the outermost points are always outside."""

    start: Tensor
    positions: Tensor
    border: Tensor

    def __init__(self, section: DmtetSection | FlexicubesSection, start: Start) -> None:
        """Start at the distances of the coarse surface."""
        super().__init__()
        self._lattice = section
        resolution = section.resolution
        positions = lattice(resolution, start.bounding_radius)
        self.cell_size = 2 * start.bounding_radius / (resolution - 1)
        distances = start.distances(positions.reshape(-1, 3)).reshape(positions.shape[:3])
        self.register_buffer("positions", positions, persistent=False)
        self.register_buffer("start", distances)
        self.register_buffer("border", outermost(resolution), persistent=False)
        sizes = [max(_COARSEST, -(-resolution // 2**level)) for level in range(section.num_levels)]
        self.levels = nn.ParameterList(torch.zeros((size,) * 3) for size in reversed(sizes))
        self.offsets = nn.Parameter(torch.zeros(*positions.shape))
        self.offsets.requires_grad_(section.offset_learning_rate > 0)

    def points(self) -> Float[Tensor, "x y z 3"]:
        """Return the positions of the lattice's points, less than half a cell from their own."""
        if self._lattice.offset_learning_rate > 0:
            return self.positions + 0.5 * self.cell_size * self.offsets.tanh()
        return self.positions

    def distances(self) -> Float[Tensor, "x y z"]:
        """Return the signed distances at the lattice, scene units."""
        total = self.start
        for level in self.levels:
            total = total + _upsampled(level, self._lattice.resolution)
        least = _LEAST_DISTANCE * self.cell_size
        return torch.where(self.border, total.clamp_min(least), total)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the grids, coarsest first, and the offsets if they are optimised."""
        section = self._lattice
        groups: list[ParameterGroup] = [
            {
                "name": f"distances_{index}",
                "params": [level],
                "lr": section.learning_rate * section.level_decay**index,
            }
            for index, level in enumerate(self.levels)
        ]
        if section.offset_learning_rate > 0:
            rate = section.offset_learning_rate
            groups.append({"name": "offsets", "params": [self.offsets], "lr": rate})
        return groups


def _upsampled(grid: Float[Tensor, "x y z"], resolution: int) -> Tensor:
    """Return the grid, trilinear, with `resolution` points per axis."""
    if len(grid) == resolution:
        return grid
    return nn.functional.interpolate(
        grid[None, None], size=(resolution,) * 3, mode="trilinear", align_corners=True
    )[0, 0]
