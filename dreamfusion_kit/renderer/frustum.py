"""A pixel's cone between two distances, as a Gaussian (mip-NeRF, arXiv 2103.13415, eq. 7-8).

Notation, per interval of a ray:

    mu, h        middle and half length of the interval, scene units
    r            the cone's radius at distance 1
    t_means      mean distance along the ray of the points in the frustum
    t_variances  their variance along the ray, r_variances across it

The formulas are the paper's stable ones: the plain moments divide differences of powers,
which cancel in thin intervals.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def frustum_moments(
    t_starts: Float[Tensor, "*samples"],
    t_ends: Float[Tensor, "*samples"],
    radii: Float[Tensor, "*samples"],
) -> tuple[Float[Tensor, "*samples"], Float[Tensor, "*samples"], Float[Tensor, "*samples"]]:
    """Return `t_means`, `t_variances` and `r_variances` of frustums that begin at >= 0."""
    middle, half = (t_starts + t_ends) / 2, (t_ends - t_starts) / 2
    middle_2, half_2 = middle.square(), half.square()
    # 0 only where start and end are 0; the numerator is then 0 as well.
    denominator = (3 * middle_2 + half_2).clamp_min(torch.finfo(middle.dtype).tiny)
    ratio = half_2 / denominator
    t_means = middle + 2 * middle * ratio
    t_variances = half_2 / 3 - 4 / 15 * ratio.square() * (12 * middle_2 - half_2)
    r_variances = radii.square() * (middle_2 / 4 + 5 / 12 * half_2 - 4 / 15 * half_2 * ratio)
    return t_means, t_variances, r_variances


def axis_variances(
    directions: Float[Tensor, "*samples 3"],
    t_variances: Float[Tensor, "*samples"],
    r_variances: Float[Tensor, "*samples"],
) -> Float[Tensor, "*samples 3"]:
    """Return the variances along the world's axes, the covariance's diagonal (eq. 16)."""
    along = directions.square()
    return t_variances[..., None] * along + r_variances[..., None] * (1 - along)
