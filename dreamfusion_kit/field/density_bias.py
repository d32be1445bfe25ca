"""From a raw number to a density: offset, initial blob, activation, bounding ball.

raw -> output of the grid or network; bias(x) -> tau_init of DreamFusion A.2 or Magic3D;
offset -> the recipe's density_offset, which decides how empty space is at the start.

    stage pre:   density = activation(raw + offset + bias(x))
    stage post:  density = max(0, activation(raw + offset) + bias(x))

DreamFusion says that the blob is "added to the density"; its re-implementations add it
before the activation. At raw = 0 this is 6 against 148 at the centre.
"""

import functools
import math
from typing import assert_never

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.recipe.schema import (
    ConeBiasSection,
    DensityBiasSection,
    FieldSection,
    GaussianBiasSection,
)

# Bounds the values that normals come from: their squared differences stay finite in float32.
_LARGEST_SHAPE_EXPONENT = 36.0


def bias_at(
    section: DensityBiasSection, squared_radius: Float[Tensor, "*points"]
) -> Float[Tensor, "*points"]:
    """Return the initial blob at squared distances from the origin; a cone goes below 0."""
    match section:
        case GaussianBiasSection():
            return section.scale * torch.exp(squared_radius / (-2 * section.std**2))
        case ConeBiasSection():
            # The root's slope is infinite at 0, where the cone has its tip and no normal.
            radius = squared_radius.clamp_min(torch.finfo(squared_radius.dtype).tiny).sqrt()
            return section.scale * (1 - radius / section.radius)
        case _:
            assert_never(section)


def density_from_raw(
    section: FieldSection,
    raw: Float[Tensor, "*points"],
    squared_radius: Float[Tensor, "*points"],
) -> Float[Tensor, "*points"]:
    """Return densities >= 0 per scene unit, 0 outside the bounding ball."""
    density = unbounded_density_from_raw(section, raw, squared_radius)
    return torch.where(squared_radius <= section.bounding_radius**2, density, 0.0)


def unbounded_density_from_raw(
    section: FieldSection,
    raw: Float[Tensor, "*points"],
    squared_radius: Float[Tensor, "*points"],
) -> Float[Tensor, "*points"]:
    """Return densities >= 0 per scene unit, over all of space."""
    bias = bias_at(section.density_bias, squared_radius)
    if section.density_bias.stage == "pre":
        return _activate(section, raw + (bias + section.density_offset))
    return (_activate(section, raw + section.density_offset) + bias).clamp_min(0)


def shape_from_raw(
    section: FieldSection,
    raw: Float[Tensor, "*points"],
    squared_radius: Float[Tensor, "*points"],
) -> Float[Tensor, "*points"]:
    """Return a function with the density's gradient direction, not cut off at the ball.

    With the bias inside, this is what the activation is applied to: an activation does
    not change a gradient's direction, and without it the differences stay finite far from the
    surface (multinerf does the same). With the bias outside, it is the density itself.
    """
    bias = bias_at(section.density_bias, squared_radius)
    if section.density_bias.stage == "pre":
        return raw + bias
    return _activate(section, raw + section.density_offset, _LARGEST_SHAPE_EXPONENT) + bias


def _activate(
    section: FieldSection, raw: Float[Tensor, "*points"], largest_exponent: float | None = None
) -> Float[Tensor, "*points"]:
    match section.density_activation:
        case "exp":
            # Such a density is opaque: its slope no longer matters, and is 0. Without the bound the
            # density would be inf, and the chain rule's 0 * inf NaN.
            return raw.clamp_max(largest_exponent or _largest_exponent(raw.dtype)).exp()
        case "softplus":
            return torch.nn.functional.softplus(raw)
        case _:
            assert_never(section.density_activation)


@functools.cache
def _largest_exponent(dtype: torch.dtype) -> float:
    """Return the largest x, to one decimal, for which e^x is finite: 88.7 in float32."""
    return math.floor(10 * math.log(torch.finfo(dtype).max)) / 10
