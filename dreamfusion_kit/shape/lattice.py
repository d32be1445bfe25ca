"""Regular lattices over the cube around the bounding ball."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def lattice(
    resolution: int, bounding_radius: float, device: torch.device | None = None
) -> Float[Tensor, "x y z 3"]:
    """Return the positions of `resolution`^3 points, the outermost on the faces of the cube."""
    axis = torch.linspace(-bounding_radius, bounding_radius, resolution, device=device)
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1)


def outermost(resolution: int, device: torch.device | None = None) -> Bool[Tensor, "x y z"]:
    """Return which points of a lattice lie on the faces of its cube."""
    border = torch.ones((resolution,) * 3, dtype=torch.bool, device=device)
    border[1:-1, 1:-1, 1:-1] = False
    return border
