"""Trilinear look-up in a lattice of values around a surface."""

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.field.lookup import corner_weights, weighted_rows


def looked_up(
    grid: Float[Tensor, "points channels"],
    resolution: int,
    bounding_radius: float,
    positions: Float[Tensor, "samples 3"],
) -> Float[Tensor, "samples channels"]:
    """Return the grid's values between its points, trilinear; beyond it those of its border."""
    cell_size = 2 * bounding_radius / (resolution - 1)
    scaled = (positions.detach() + bounding_radius) / cell_size
    scaled = scaled.clamp(0, resolution - 1)
    lower = scaled.floor().clamp_max(resolution - 2)
    x, y, z = lower.long().unbind(dim=-1)
    offsets = [
        (i * resolution + j) * resolution + k for i in (0, 1) for j in (0, 1) for k in (0, 1)
    ]
    first = (x * resolution + y) * resolution + z
    indices = first[:, None] + torch.tensor(offsets, device=positions.device)
    return weighted_rows(grid, indices, corner_weights(scaled - lower))
