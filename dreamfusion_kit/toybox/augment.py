"""Random changes to training images, to which the toybox's judges must be robust."""

import torch
from jaxtyping import Float
from torch import Tensor


def augment(
    images: Float[Tensor, "batch h w 3"], *, generator: torch.Generator
) -> Float[Tensor, "batch h w 3"]:
    """Shift, scale, blur and roughen images, and change their exposure.

    The judges later see optimised assets, whose surfaces are rougher than clean renders and
    whose exposure differs; they must not fail for that reason alone.
    """
    batch = len(images)
    draw = torch.rand(batch, 6, generator=generator)
    theta = torch.zeros(batch, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 0.9 + 0.35 * draw[:, 0]
    theta[:, :, 2] = 0.2 * (draw[:, 1:3] - 0.5)
    planes = images.permute(0, 3, 1, 2)
    grid = torch.nn.functional.affine_grid(theta, list(planes.shape), align_corners=False)
    planes = torch.nn.functional.grid_sample(
        planes, grid, padding_mode="border", align_corners=False
    )
    blurred = torch.nn.functional.avg_pool2d(
        planes, 3, stride=1, padding=1, count_include_pad=False
    )
    planes = torch.lerp(planes, blurred, draw[:, 3, None, None, None])
    planes = planes.clamp(0, 1) ** (0.65 + 0.8 * draw[:, 4, None, None, None])
    roughness = 0.08 * draw[:, 5, None, None, None]
    noise = torch.randn(planes.shape, generator=generator)
    return (planes + roughness * noise).clamp(0, 1).permute(0, 2, 3, 1)
