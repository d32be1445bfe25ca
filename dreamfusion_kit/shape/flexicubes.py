"""FlexiCubes: signed distances at a lattice, by weighted dual marching cubes (arXiv 2308.05371).

A vertex may lie anywhere among the crossings of its cell's edges, so that faces and edges of an
object need not follow the lattice, and a surface has fewer triangles than marching tetrahedra's.
"""

import torch
from torch import Tensor, nn

from dreamfusion_kit.field.base import ParameterGroup
from dreamfusion_kit.recipe.schema import FlexicubesSection
from dreamfusion_kit.records import Surface
from dreamfusion_kit.shape.distance_grid import DistanceGrid
from dreamfusion_kit.shape.dual_cubes import CellWeights, DualSurface, dual_marching_cubes
from dreamfusion_kit.shape.representation import Regularized
from dreamfusion_kit.shape.start import Start

_PARTS = (8, 12, 1)  # alpha, beta, gamma


class Flexicubes(DistanceGrid):
    """A surface with vertices inside the cells; the weights start at 1, all alike."""

    def __init__(self, section: FlexicubesSection, start: Start) -> None:
        """Start at the coarse surface."""
        super().__init__(section, start)
        self._section = section
        cells = section.num_cell_weights // sum(_PARTS)
        self.weights = nn.Parameter(torch.zeros(cells, sum(_PARTS)))

    def surface(self) -> Surface:
        """Return the zero level, by dual marching cubes."""
        return self._extracted().surface

    def regularized(self) -> Regularized:
        """Return it with the weighted L_dev, in cells (s. 4.4)."""
        found = self._extracted()
        factor = self._section.deviation_lambda
        penalty = factor * found.deviation / self.cell_size if factor > 0 else None
        return Regularized(found.surface, penalty)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the distances, the offsets and the weights, if they are optimised."""
        groups = super().parameter_groups()
        if rate := self._section.weight_learning_rate:
            groups.append({"name": "weights", "params": [self.weights], "lr": rate})
        return groups

    def _extracted(self) -> DualSurface:
        return dual_marching_cubes(self.distances(), self.points(), self._cell_weights())

    def _cell_weights(self) -> CellWeights | None:
        if len(self.weights) == 0:
            return None
        alpha, beta, gamma = _positive(self.weights).split(_PARTS, dim=1)
        return CellWeights(alpha, beta, gamma[:, 0])


def _positive(raw: Tensor) -> Tensor:
    """Return 1 + tanh, as the paper's alpha and beta, kept off 0, where a sum would vanish.

    Departs from the paper for gamma, a sigmoid there: its scale cancels.
    """
    return 1.01 + raw.tanh()
