"""Integrated positional encoding: Fourier features of a Gaussian instead of a point.

Mip-NeRF (arXiv 2103.13415), eq. 14: for x ~ N(mean, variance) per axis and level l,

    E[sin(2^l x)] = sin(2^l mean) exp(-4^l variance / 2), and cos likewise.

A wide Gaussian thus fades the high levels out by itself; a variance of 0 leaves the plain
positional encoding. The levels are 2^0 to 2^(L-1), the axes are the world's: DreamFusion
names no other basis.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def integrated_encoding(
    means: Float[Tensor, "samples channels"],
    variances: Float[Tensor, "..."],
    *,
    num_levels: int,
) -> Float[Tensor, "samples features"]:
    """Return `2 * num_levels * channels` features in [-1, 1]: all sines, then all cosines.

    Args:
        means: Centres in scene units.
        variances: Along each axis, scene units squared, >= 0; one number for all, or a shape
            that broadcasts against `means`.
        num_levels: L, the number of frequencies.
    """
    scales = 2.0 ** torch.arange(num_levels, dtype=means.dtype, device=means.device)
    angles = means[:, None, :] * scales[:, None]
    per_level = variances if variances.ndim == 0 else variances[..., None, :]
    damping = torch.exp(-0.5 * scales.square()[:, None] * per_level)
    return torch.cat([(angles.sin() * damping).flatten(1), (angles.cos() * damping).flatten(1)], 1)
