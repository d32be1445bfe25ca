"""The albedo of a surface as a camera right above it sees it.

After few steps a field is never quite solid: its renders show, at a point of the extracted
surface, a mixture of everything below, and the albedo of the point itself can be anything
that the rest compensates for. So the albedo is composited along the inward normal n, as the
renderer does along a ray:

    seen = sum_i w_i a(x_i) / sum_i w_i,   x_i = x - (i + 1/2) step n,
    w_i = T_i (1 - exp(-density(x_i) step)),

with T_i the share of light that gets past the samples before i.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.mesh.query import AlbedoFunction, DensityFunction

_NUM_SAMPLES = 8
_MIN_OPACITY = 1e-4  # below this the colour is meaningless

SkinFunction = Callable[
    [Float[Tensor, "samples 3"], Float[Tensor, "samples 3"]], Float[Tensor, "samples 3"]
]
"""Surface positions and unit outward normals in, albedo out."""


def skin_albedo(densities: DensityFunction, albedo: AlbedoFunction, depth: float) -> SkinFunction:
    """Return a function that composites albedo over the first `depth` scene units below a surface.

    With depth 0, and where nothing below is visible, it is the albedo of the surface itself.
    """
    step = depth / _NUM_SAMPLES

    def seen(
        positions: Float[Tensor, "samples 3"], normals: Float[Tensor, "samples 3"]
    ) -> Float[Tensor, "samples 3"]:
        own = albedo(positions)
        if depth == 0:
            return own
        total, transmittance = torch.zeros_like(own), torch.ones_like(own[:, :1])
        for index in range(_NUM_SAMPLES):
            below = positions - (index + 0.5) * step * normals
            passed = torch.exp(-step * densities(below))[:, None]
            total += transmittance * (1 - passed) * albedo(below)
            transmittance = transmittance * passed
        opacity = 1 - transmittance
        return torch.where(opacity > _MIN_OPACITY, total / opacity.clamp_min(_MIN_OPACITY), own)

    return seen
