"""Unbounded space contracted into a ball of twice the radius (mip-NeRF 360, eq. 10).

    contract(x) = x                          where |x| <= 1
                = (2 - 1 / |x|) x / |x|      beyond, so that infinity maps to 2

Points inside the unit ball do not move; at its surface the function and its slope join.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def contract(positions: Float[Tensor, "*points 3"], radius: float) -> Float[Tensor, "*points 3"]:
    """Return positions in a ball of `2 radius`; those within `radius` do not move."""
    # A norm of at least 1 makes the second formula the identity inside, with a slope there.
    squared = (positions / radius).square().sum(dim=-1, keepdim=True)
    norm = squared.clamp_min(1).sqrt()
    return positions * (2 - 1 / norm) / norm


def contract_variances(
    positions: Float[Tensor, "samples 3"], variances: Float[Tensor, "samples 3"], radius: float
) -> Float[Tensor, "samples 3"]:
    """Return the variances along the axes of Gaussians after contraction (eq. 9).

    A Gaussian follows the slope at its mean, `J diag(variances) J^T`: 1 / r^2 along the
    radius and (2 - 1 / r) / r across. Only the result's diagonal is kept.
    """
    norm = (positions / radius).square().sum(dim=-1, keepdim=True).clamp_min(1).sqrt()
    across, along = (2 - 1 / norm) / norm, 1 / norm.square()
    outward = positions / (radius * norm)  # of length 1 outside, where it is needed
    spread = (along - across)[..., None] * outward[:, :, None] * outward[:, None, :]
    slope = spread + across[..., None] * torch.eye(3, dtype=norm.dtype, device=norm.device)
    return (slope.square() * variances[:, None, :]).sum(dim=-1)
