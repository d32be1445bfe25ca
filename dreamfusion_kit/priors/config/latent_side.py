"""Whether the denoiser can read the latents of the recipe's size, before a VAE makes them.

A VAE with n levels halves the side n - 1 times, rounding down. A U-Net accepts latents of any size.
A transformer cuts them into patches, and its position embeddings cover a limited number of patches.
"""

import math
from pathlib import Path

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.priors.config.schema import AuraFlowConfig, Sd3Config, VaeConfig


def pixels_per_latent(vae: VaeConfig) -> int:
    """Return how many pixels of a side one place of the latents covers."""
    return 2 ** (len(vae.block_out_channels) - 1)


def check_unet_side(image_size_px: int, vae: VaeConfig, directory: Path) -> None:
    """Raise RecipeError where an image is smaller than one place of its latents."""
    factor = pixels_per_latent(vae)
    if image_size_px < factor:
        raise RecipeError(
            f"prior.image_size_px: found {image_size_px}, expected at least {factor}, the pixels "
            f"that one latent of {directory.name}/vae covers; change the recipe"
        )


def check_transformer_side(
    image_size_px: int, vae: VaeConfig, transformer: Sd3Config | AuraFlowConfig, directory: Path
) -> None:
    """Raise RecipeError unless latents divide into patches and each patch has a position."""
    patch = transformer.patch_size
    side = pixels_per_latent(vae) * patch
    latents = image_size_px // pixels_per_latent(vae)
    most = transformer.pos_embed_max_size
    if isinstance(transformer, AuraFlowConfig):
        most = math.isqrt(most)  # it counts all positions, SD3 those of a side
    if latents % patch or not 1 <= latents // patch <= most:
        raise RecipeError(
            f"prior.image_size_px: found {image_size_px}, expected a multiple of {side} of at most "
            f"{side * most}, which {directory.name}/transformer cuts into patches; change the "
            "recipe"
        )
