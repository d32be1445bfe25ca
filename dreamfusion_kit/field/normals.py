"""Normals from the falling density: n = -grad / |grad| (DreamFusion, A.2)."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

# Directions k with sum(k k^T) = c I, so that sum(k f(x + h k)) / (c h) -> grad f(x).
# The tetrahedron needs 4 evaluations and errs by O(h), the central taps 6 and O(h^2).
TETRAHEDRON_TAPS = ((1.0, 1.0, 1.0), (1.0, -1.0, -1.0), (-1.0, 1.0, -1.0), (-1.0, -1.0, 1.0))
CENTRAL_TAPS = (
    (1.0, 0.0, 0.0),
    (-1.0, 0.0, 0.0),
    (0.0, 1.0, 0.0),
    (0.0, -1.0, 0.0),
    (0.0, 0.0, 1.0),
    (0.0, 0.0, -1.0),
)

# Below this slope (per scene unit) space is flat and has no normal.
MIN_SLOPE = 1e-6


def finite_difference_gradient(
    function: Callable[[Float[Tensor, "taps 3"]], Float[Tensor, " taps"]],
    positions: Float[Tensor, "samples 3"],
    *,
    epsilon: float,
    taps: tuple[tuple[float, float, float], ...],
) -> Float[Tensor, "samples 3"]:
    """Return the gradient of `function`, evaluated once at all taps.

    `epsilon` is the step in scene units: small against the shape's details, large against
    the rounding of positions. The result is differentiable with respect to what
    `function` depends on.
    """
    directions = positions.new_tensor(taps)
    taps_at = positions[:, None, :] + epsilon * directions
    values = function(taps_at.reshape(-1, 3)).reshape(len(positions), len(taps))
    scale = epsilon * float(directions[:, 0].square().sum())
    return values @ directions / scale


def normals_from_gradient(gradient: Float[Tensor, "samples 3"]) -> Float[Tensor, "samples 3"]:
    """Return unit normals `-gradient / |gradient|`.

    Where the slope is below `MIN_SLOPE` the normal is 0 and sends no gradient back, so
    that no division by almost zero reaches the optimiser.
    """
    squared = gradient.square().sum(dim=-1, keepdim=True)
    is_flat = squared < MIN_SLOPE**2
    inverse = torch.where(is_flat, 1.0, squared).rsqrt()
    return gradient * torch.where(is_flat, 0.0, -inverse)
