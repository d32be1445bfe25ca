"""Weights along a ray as a histogram: samples drawn from one, and one that bounds another.

Mip-NeRF 360 (arXiv 2111.12077), s. 3. A small network's weights over the ray's intervals
choose the field's own intervals, and are then held to cover the field's weights.

Notation:

    intervals   the bins that were asked of the small network; samples, the field's
    edges       ends of bins, rising, in [0, 1]: bin i of n even ones ends at (i + 1) / n
    places      where on the ray, counted in intervals: 2.5 is the middle of the third

What the field's weights say is the truth here: the loss sends nothing back to them.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.renderer.sampling import Intervals

# Added to every weight, so that samples also go, thinly, where nothing was seen yet.
_PADDING = 1e-3


def resample(
    intervals: Intervals,
    weights: Float[Tensor, "rays intervals"],
    *,
    num_samples: int,
    exponent: float,
) -> Intervals:
    """Cut each ray anew, into `num_samples` pieces of equal share in the weights.

    The pieces touch and cover the same way. Each interval counts as much as the heaviest of
    it and its neighbours: the paper dilates by half an interval, since a thin surface may lie
    just beside its weight. The shares are then raised to `exponent`, the paper's annealing:
    at 0 all intervals count alike. Those of length 0 get nothing.
    """
    dilated = torch.nn.functional.max_pool1d(weights, kernel_size=3, stride=1, padding=1)
    shares = (dilated + _PADDING) ** exponent * (intervals.deltas > 0)
    places = quantile_places(shares, num_samples)
    ends = torch.cat([intervals.t_starts, intervals.t_ends[..., -1:]], dim=-1)
    t = _at_places(ends, places)
    t_starts, t_ends = t[..., :-1], t[..., 1:]
    return Intervals(t_starts, t_ends, (t_starts + t_ends) / 2, places / weights.shape[-1])


def quantile_places(
    shares: Float[Tensor, "rays intervals"], num_samples: int
) -> Float[Tensor, "rays places"]:
    """Return the `num_samples + 1` places that cut a histogram into pieces of equal share.

    Inside an interval its share is spread evenly. A ray without any share stays one piece.
    """
    tiny = torch.finfo(shares.dtype).tiny
    below = torch.nn.functional.pad(shares.cumsum(dim=-1), (1, 0))
    below = below / below[..., -1:].clamp_min(tiny)
    wanted = torch.linspace(0, 1, num_samples + 1, device=shares.device, dtype=shares.dtype)
    wanted = wanted.repeat(len(shares), 1)
    upper = torch.searchsorted(below, wanted).clamp(1, shares.shape[-1])
    low, high = below.gather(-1, upper - 1), below.gather(-1, upper)
    return upper - 1 + ((wanted - low) / (high - low).clamp_min(tiny)).clamp(0, 1)


def interlevel_from_weights(
    weights: Float[Tensor, "rays samples"],
    edges: Float[Tensor, "rays samples+1"],
    proposed: Float[Tensor, "rays intervals"],
) -> Float[Tensor, " rays"]:
    """Return by how much `proposed` fails to bound the field's weights (eq. 12 and 13).

        bound_i = sum of the proposed weights of all intervals that sample i touches
        loss    = sum_i max(0, w_i - bound_i)^2 / w_i

    Only `proposed` gets a gradient. A bound that is too high costs nothing: the small
    network may be blurred, but must not miss.
    """
    weights, edges, count = weights.detach(), edges.detach(), proposed.shape[-1]
    ends = torch.arange(count + 1, device=edges.device, dtype=edges.dtype) / count
    first = torch.searchsorted(ends, edges[..., :-1].contiguous(), right=True) - 1
    last = torch.searchsorted(ends, edges[..., 1:].contiguous())
    below = torch.nn.functional.pad(proposed.cumsum(dim=-1), (1, 0))
    bound = below.gather(-1, last.clamp(0, count)) - below.gather(-1, first.clamp(0, count))
    excess = (weights - bound).clamp_min(0)
    # A weight of 0 exceeds no bound but for rounding.
    return (excess.square() / weights.clamp_min(torch.finfo(weights.dtype).eps)).sum(dim=-1)


def _at_places(
    edges: Float[Tensor, "rays edges"], places: Float[Tensor, "rays places"]
) -> Float[Tensor, "rays places"]:
    """Return where on the ray places lie, straight between the ends of their interval."""
    lower = places.floor().clamp(max=edges.shape[-1] - 2).long()
    # `lerp` meets both ends to the bit, so that pieces never reach over them.
    return torch.lerp(edges.gather(-1, lower), edges.gather(-1, lower + 1), places - lower)
