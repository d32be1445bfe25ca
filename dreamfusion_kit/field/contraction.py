"""Unbounded space brought into a ball of twice the radius (mip-NeRF 360, eq. 10).

    contract(x) = x                          where |x| <= 1
                = (2 - 1 / |x|) x / |x|      beyond, so that infinity comes to lie at 2

What is inside the unit ball stays as it is; there the function and its slope join.
"""

from jaxtyping import Float
from torch import Tensor


def contract(positions: Float[Tensor, "*points 3"], radius: float) -> Float[Tensor, "*points 3"]:
    """Return positions in a ball of `2 radius`; inside of `radius` they do not move."""
    # A norm of at least 1 makes the second formula the identity inside, with a slope there.
    squared = (positions / radius).square().sum(dim=-1, keepdim=True)
    norm = squared.clamp_min(1).sqrt()
    return positions * (2 - 1 / norm) / norm
