"""Plain backgrounds that a rendered object is composited over."""

import math
from typing import assert_never

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.recipe.schema import (
    ConstantBackgroundSection,
    PlainBackgroundSection,
    RandomBackgroundSection,
)


def sample_background(
    section: PlainBackgroundSection,
    batch: int,
    height_px: int,
    width_px: int,
    *,
    generator: torch.Generator,
) -> Float[Tensor, "batch h w 3"]:
    """Draw one background image per batch entry, in [0, 1]."""
    match section:
        case ConstantBackgroundSection():
            color = torch.tensor(section.color, device=generator.device)
            return color.expand(batch, height_px, width_px, 3)
        case RandomBackgroundSection():
            return _random_background(section, batch, height_px, width_px, generator)
        case _:
            assert_never(section)


def _random_background(
    section: RandomBackgroundSection,
    batch: int,
    height_px: int,
    width_px: int,
    generator: torch.Generator,
) -> Float[Tensor, "batch h w 3"]:
    """Draw a solid colour, or a soft linear gradient of two in a random direction."""
    rand = torch.rand(batch, 2, 3, generator=generator, device=generator.device)
    lower, upper = section.value_range
    colors = hsv_to_rgb(
        rand[..., 0], section.saturation_max * rand[..., 1], lower + (upper - lower) * rand[..., 2]
    )
    choice = torch.rand(batch, 2, generator=generator, device=generator.device)
    angle = 2 * math.pi * choice[:, 0]
    is_gradient = choice[:, 1] < section.gradient_probability
    y = torch.linspace(-0.5, 0.5, height_px, device=generator.device)[:, None]
    x = torch.linspace(-0.5, 0.5, width_px, device=generator.device)[None, :]
    ramp = angle.cos()[:, None, None] * x + angle.sin()[:, None, None] * y
    mix = (0.5 + ramp).clamp(0, 1) * is_gradient[:, None, None]
    first, second = colors[:, 0, None, None, :], colors[:, 1, None, None, :]
    return first + mix[..., None] * (second - first)


def hsv_to_rgb(
    hue: Float[Tensor, "*colors"],
    saturation: Float[Tensor, "*colors"],
    value: Float[Tensor, "*colors"],
) -> Float[Tensor, "*colors 3"]:
    """Convert HSV in [0, 1] to RGB in [0, 1]."""
    offsets = torch.tensor([5.0, 3.0, 1.0], device=hue.device, dtype=hue.dtype)
    k = (offsets + 6 * hue[..., None]) % 6
    ramp = torch.minimum(k, 4 - k).clamp(0, 1)
    return value[..., None] * (1 - saturation[..., None] * ramp)
