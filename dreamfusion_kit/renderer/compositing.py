"""Emission and absorption along rays (NeRF eq. 3).

Notation, all `*rays samples` and ordered away from the camera:

    densities            tau_i, per scene unit, >= 0
    deltas               d_i, interval lengths in scene units, >= 0
    optical depths       tau_i d_i
    alphas               1 - exp(-tau_i d_i), the opacity of one interval
    transmittances       T_i = exp(-sum_{j<i} tau_j d_j), the light that reaches interval i
    weights              T_i alpha_i, an interval's share of the ray's colour

The weights of a ray sum to its opacity, which never exceeds 1. `expm1` keeps thin fog
exact: at an optical depth of 1e-9, `1 - exp(-x)` is 0 in float32.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def alphas_from_densities(
    densities: Float[Tensor, "*rays samples"], deltas: Float[Tensor, "*rays samples"]
) -> Float[Tensor, "*rays samples"]:
    """Return each interval's own opacity, in [0, 1]."""
    return -torch.expm1(-densities * deltas)


def transmittances_from_densities(
    densities: Float[Tensor, "*rays samples"], deltas: Float[Tensor, "*rays samples"]
) -> Float[Tensor, "*rays samples"]:
    """Return the share of light that reaches each interval; 1 for the first one."""
    depths = (densities * deltas)[..., :-1].cumsum(dim=-1)
    # Shifted, not `cumsum - depth`: the difference cancels, and an infinite density ends
    # as inf - inf.
    return torch.exp(-torch.nn.functional.pad(depths, (1, 0)))[..., : densities.shape[-1]]


def weights_from_densities(
    densities: Float[Tensor, "*rays samples"], deltas: Float[Tensor, "*rays samples"]
) -> Float[Tensor, "*rays samples"]:
    """Return each interval's share of its ray's colour, `T_i alpha_i`."""
    transmittances = transmittances_from_densities(densities, deltas)
    return transmittances * alphas_from_densities(densities, deltas)


def opacity_from_weights(weights: Float[Tensor, "*rays samples"]) -> Float[Tensor, "*rays"]:
    """Return the accumulated alpha of each ray, in [0, 1]."""
    return weights.sum(dim=-1)


def depth_from_weights(
    weights: Float[Tensor, "*rays samples"], t_mids: Float[Tensor, "*rays samples"]
) -> Float[Tensor, "*rays"]:
    """Return the weighted mean distance along each ray; it fades to 0 below opacity 1e-6."""
    opacity = opacity_from_weights(weights)
    return (weights * t_mids).sum(dim=-1) / opacity.clamp_min(1e-6)


def distortion_from_weights(
    weights: Float[Tensor, "*rays samples"],
    edges: Float[Tensor, "*rays edges"] | None = None,
) -> Float[Tensor, "*rays"]:
    """Return how far each ray's weights are spread, from 0 to 1/3 where they fill it evenly.

    Mip-NeRF 360's loss, eq. 15, `sum_ij w_i w_j |m_i - m_j| + 1/3 sum_i w_i^2 d_i`, over
    normalised distances from 0 to 1. The intervals end at `edges`; without them all are
    equally long. The loss pulls weight into one place, however the ray was cut.
    """
    if edges is None:
        count = weights.shape[-1]
        edges = torch.arange(count + 1, device=weights.device, dtype=weights.dtype) / count
    widths, middles = edges.diff(dim=-1), (edges[..., :-1] + edges[..., 1:]) / 2
    # Pairs j < i, each counted twice: w_i (m_i sum_j w_j - sum_j w_j m_j).
    before = weights.cumsum(dim=-1) - weights
    moment_before = (weights * middles).cumsum(dim=-1) - weights * middles
    between = 2 * (weights * (middles * before - moment_before)).sum(dim=-1)
    return between + (widths * weights.square()).sum(dim=-1) / 3


def composite_over(
    color: Float[Tensor, "*rays 3"],
    opacity: Float[Tensor, "*rays"],
    background: Float[Tensor, "*rays 3"],
) -> Float[Tensor, "*rays 3"]:
    """Return `color`, already multiplied by its weights, over the background."""
    return color + (1 - opacity[..., None]) * background
