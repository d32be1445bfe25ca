"""The square patches of pixels that a pixel-space U-Net reads as channels."""

import math
from pathlib import Path

from dreamfusion_kit.errors import RecipeError, WeightsError
from dreamfusion_kit.priors.config.components import read_config
from dreamfusion_kit.priors.config.json_file import checked
from dreamfusion_kit.priors.config.schema import UnetConfig


def patch_size(directory: Path, image_size_px: int) -> int:
    """Return the side in pixels of the patches that the U-Net reads as channels."""
    place = f"{directory.name}/unet/config.json"
    config = checked(UnetConfig, read_config(directory, "unet"), place)
    channels, size = config.in_channels, config.sample_size
    patch = math.isqrt(channels // 3)
    if 3 * patch**2 != channels:
        raise WeightsError(
            f"{directory.name}/unet: reads {channels} channels; expected 3 times a square, since "
            "a pixel_unet prior reads pixels; choose another prior.kind or another prior.source"
        )
    if size * patch != image_size_px:
        raise RecipeError(
            f"prior.image_size_px: found {image_size_px}, expected {size * patch}, the size that "
            f"{directory.name}/unet was trained on; change the recipe"
        )
    return patch
