"""Penalties on rays, each computed only if its lambda requires it; see `RaySamples`."""

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.renderer.compositing import distortion_from_weights
from dreamfusion_kit.renderer.histogram import interlevel_from_weights
from dreamfusion_kit.renderer.ray_samples import RaySamples


def orientation(samples: RaySamples) -> Float[Tensor, " rays"]:
    """Return `sum stopgrad(w) max(0, n.d)^2`, the weight of normals that face away.

    DreamFusion, A.2, after Ref-NeRF. Raises ValueError where the render had no normals.
    """
    if samples.normals is None:
        raise ValueError("orientation: found no normals, expected a render with_normals")
    packing = samples.packing
    directions = samples.directions.index_select(0, packing.ray_indices)
    facing_away = (samples.normals * directions).sum(dim=-1, keepdim=True).clamp_min(0)
    weights = packing.pack(samples.weights.detach())
    penalty = packing.sum_per_ray(weights * facing_away.square())
    # A column of a table: a sum over strided numbers adds them in a different order from one over
    # contiguous numbers, and logged penalties stay bit-identical to when normals stood beside it.
    return torch.nn.functional.pad(penalty, (0, 3))[:, 0]


def distortion(samples: RaySamples) -> Float[Tensor, " rays"]:
    """Return how far each ray's weights are spread (mip-NeRF 360, eq. 15), from 0 to 1/3."""
    return distortion_from_weights(samples.weights, samples.edges)


def interlevel(samples: RaySamples) -> Float[Tensor, " rays"]:
    """Return how much of the field's weights the proposal network misses (mip-NeRF 360, eq. 13).

    Only the proposal gets a gradient. Raises ValueError where the render had no proposal.
    """
    if samples.edges is None or samples.proposed_weights is None:
        raise ValueError("interlevel: found no proposed weights, expected a render with a proposal")
    return interlevel_from_weights(samples.weights, samples.edges, samples.proposed_weights)
