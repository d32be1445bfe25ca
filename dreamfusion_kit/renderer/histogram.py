"""Weights along a ray as a histogram: samples drawn from one, and one that bounds another.

Mip-NeRF 360 (arXiv 2111.12077), s. 3. The weights of a proposal network choose the field's
intervals, and are trained to bound the field's weights.

Notation:

    intervals   the bins at which the proposal network was queried; samples, the field's
    edges       ends of bins, rising, in [0, 1]: bin i of n even ones ends at (i + 1) / n
    cdf         cumulative weights, normalised, at the ends of the intervals
    quantiles   where on the ray the cdf has a value, in intervals: 2.5 is the third's middle

The field's weights are the target: the loss sends no gradient back to them.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.renderer.sampling import Intervals

# Added to every weight, so that space without weight is still sampled, thinly.
_PADDING = 1e-3


def resample(
    intervals: Intervals,
    weights: Float[Tensor, "rays intervals"],
    *,
    num_samples: int,
    exponent: float,
) -> Intervals:
    """Cut each ray again, into `num_samples` intervals of equal weight.

    They touch and cover the same distance. Each interval counts as much as the heaviest of
    itself and its neighbours: the paper dilates by half an interval, since a thin surface may lie
    just beside its weight. The weights are then raised to `exponent`, the paper's annealing:
    at 0 all intervals count alike. Intervals of length 0 get no samples.
    """
    dilated = torch.nn.functional.max_pool1d(weights, kernel_size=3, stride=1, padding=1)
    annealed = (dilated + _PADDING) ** exponent * (intervals.deltas > 0)
    quantiles = invert_cdf(annealed, num_samples)
    ends = torch.cat([intervals.t_starts, intervals.t_ends[..., -1:]], dim=-1)
    t = _interpolate(ends, quantiles)
    t_starts, t_ends = t[..., :-1], t[..., 1:]
    return Intervals(t_starts, t_ends, (t_starts + t_ends) / 2, quantiles / weights.shape[-1])


def invert_cdf(
    weights: Float[Tensor, "rays intervals"], num_samples: int
) -> Float[Tensor, "rays quantiles"]:
    """Return the `num_samples + 1` quantiles that cut a histogram into parts of equal weight.

    Weights need not sum to 1. Within an interval the weight is spread evenly. A ray without
    any weight stays one part.
    """
    tiny = torch.finfo(weights.dtype).tiny
    cdf = torch.nn.functional.pad(weights.cumsum(dim=-1), (1, 0))
    cdf = cdf / cdf[..., -1:].clamp_min(tiny)
    u = torch.linspace(0, 1, num_samples + 1, device=weights.device, dtype=weights.dtype)
    u = u.repeat(len(weights), 1)
    upper = torch.searchsorted(cdf, u).clamp(1, weights.shape[-1])
    low, high = cdf.gather(-1, upper - 1), cdf.gather(-1, upper)
    return upper - 1 + ((u - low) / (high - low).clamp_min(tiny)).clamp(0, 1)


def interlevel_from_weights(
    weights: Float[Tensor, "rays samples"],
    edges: Float[Tensor, "rays samples+1"],
    proposed_weights: Float[Tensor, "rays intervals"],
) -> Float[Tensor, " rays"]:
    """Return by how much `proposed_weights` fail to bound the field's (eq. 12 and 13).

        bound_i = sum of the proposed weights of all intervals that sample i touches
        loss    = sum_i max(0, w_i - bound_i)^2 / w_i

    Only `proposed_weights` get a gradient. A bound that is too high costs nothing: the
    proposal may be blurred, but must not miss.
    """
    weights, edges, count = weights.detach(), edges.detach(), proposed_weights.shape[-1]
    ends = torch.arange(count + 1, device=edges.device, dtype=edges.dtype) / count
    first = torch.searchsorted(ends, edges[..., :-1].contiguous(), right=True) - 1
    last = torch.searchsorted(ends, edges[..., 1:].contiguous())
    cumulative = torch.nn.functional.pad(proposed_weights.cumsum(dim=-1), (1, 0))
    bounds = cumulative.gather(-1, last.clamp(0, count))
    bounds = bounds - cumulative.gather(-1, first.clamp(0, count))
    excess = (weights - bounds).clamp_min(0)
    # A weight of 0 can exceed its bound only by rounding.
    return (excess.square() / weights.clamp_min(torch.finfo(weights.dtype).eps)).sum(dim=-1)


def _interpolate(
    ends: Float[Tensor, "rays edges"], quantiles: Float[Tensor, "rays quantiles"]
) -> Float[Tensor, "rays quantiles"]:
    """Return the distance of each quantile, linear between the ends of its interval."""
    lower = quantiles.floor().clamp(max=ends.shape[-1] - 2).long()
    # `lerp` meets both ends to the bit, so that no interval reaches past them.
    return torch.lerp(ends.gather(-1, lower), ends.gather(-1, lower + 1), quantiles - lower)
