"""The density of a field on a lattice, closed at the border and without cavities.

Lattice point `[i, j, k]` lies at world `(-R + i h, -R + j h, -R + k h)`, R the bounding
radius and h the spacing. The renderer never samples outside the ball of radius R, so
a field's values there are not part of the object: those points have density 0, and so does
the outermost layer, which makes every surface closed.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from skimage.measure import label

from dreamfusion_kit.errors import MeshError
from dreamfusion_kit.mesh.query import DensityFunction, query_field


@dataclass(frozen=True)
class DensityGrid:
    """`values` are densities (per scene unit); `sampled` marks where the field was queried."""

    values: Float[np.ndarray, "x y z"]
    sampled: Bool[np.ndarray, "x y z"]
    bounding_radius: float

    @property
    def spacing(self) -> float:
        """Return the distance between neighbouring lattice points, in scene units."""
        return 2 * self.bounding_radius / (len(self.values) - 1)


def sample_density_grid(
    densities: DensityFunction, *, bounding_radius: float, resolution: int, device: torch.device
) -> DensityGrid:
    """Sample `densities` on `resolution`^3 lattice points, inside the ball only."""
    if resolution < 3:
        raise MeshError(
            f"mesh.grid_resolution: {resolution} leaves no lattice point inside the border; "
            "expected at least 3 (32 or more for a recognisable shape)"
        )
    axis = np.linspace(-bounding_radius, bounding_radius, resolution)
    squares = axis**2
    sampled = squares[:, None, None] + squares[:, None] + squares < bounding_radius**2
    sampled &= np.pad(np.ones((resolution - 2,) * 3, dtype=bool), 1)
    values = np.zeros(sampled.shape)
    for slab in np.flatnonzero(sampled.any(axis=(1, 2))):  # all positions at once are 3 n^3 numbers
        y, z = np.nonzero(sampled[slab])
        positions = np.stack([np.full(len(y), axis[slab]), axis[y], axis[z]], axis=-1)
        values[slab, y, z] = query_field(densities, positions, device=device)
    _require_densities(values)
    return DensityGrid(values, sampled, bounding_radius)


def fill_cavities(grid: DensityGrid, threshold: float) -> tuple[DensityGrid, int]:
    """Make enclosed empty space solid; return the new grid and how many points were filled.

    A cavity is invisible and no gradient ever reached it, but its wall would take faces and
    texels from the visible surface. Empty points are neighbours along
    the axes; those that the lattice's border does not reach are enclosed.
    """
    empty = grid.values <= threshold
    regions = np.asarray(label(empty, connectivity=1))
    enclosed = empty & (regions != regions[0, 0, 0])
    values = np.where(enclosed, grid.values.max(), grid.values)
    return DensityGrid(values, grid.sampled, grid.bounding_radius), int(enclosed.sum())


def _require_densities(values: Float[np.ndarray, "x y z"]) -> None:
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        raise MeshError(
            f"mesh: {int(bad.sum())} of {values.size} sampled densities are negative or not "
            "finite; expected finite values >= 0. The field is damaged: optimise it again"
        )
