"""From pictures to a VAE's latents, differentiably, and never back.

The decoder is dropped as soon as the VAE is read: no step can decode by mistake.
"""

from typing import Any

import torch
from diffusers import AutoencoderKL  # pyright: ignore[reportPrivateImportUsage]
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.errors import NumericsError
from dreamfusion_kit.priors.addition.adapted import Adapted
from dreamfusion_kit.priors.base import to_pixel_space
from dreamfusion_kit.priors.directory import load_model
from dreamfusion_kit.priors.network.attention import repeatable_attention


def load_encoder(adapted: Adapted, device: torch.device) -> torch.nn.Module:
    """Return the prior's VAE, or the one in its place, without its decoder, frozen, on `device`."""
    dtype: torch.dtype = getattr(torch, adapted.section.vae_dtype)
    vae: Any = adapted.other_vae(dtype) or load_model(
        AutoencoderKL, adapted.directory / "vae", dtype=dtype
    )
    return without_decoder(vae, device)


def without_decoder(vae: Any, device: torch.device) -> torch.nn.Module:
    """Return a VAE that can only encode, on `device`."""
    del vae.decoder, vae.post_quant_conv
    return vae.to(device)


def encode_images(
    vae: torch.nn.Module, images: Float[Tensor, "batch 3 h w"], image_size_px: int
) -> Float[Tensor, "batch channels height width"]:
    """Return `(mean - shift) * scale` of images in [0, 1], in the images' own precision.

    This takes the mean of the encoder's Gaussian, not a sample, which would add noise to the
    gradient.
    """
    encoder: Any = vae
    signed = to_pixel_space(images, image_size_px).to(encoder.dtype)
    with repeatable_attention(signed.device):
        mean = encoder.encode(signed).latent_dist.mode().to(images.dtype)
    check_finite(mean, encoder.dtype)
    return _scaled(encoder, mean)


def scaled_mean(
    vae: Any, signed: Float[Tensor, "batch 3 h w"]
) -> Float[Tensor, "batch channels height width"]:
    """Return an AutoencoderKL's scaled latents of images in [-1, 1], in its own precision."""
    return _scaled(vae, vae.encode(signed).latent_dist.mode())


def check_finite(latents: Tensor, dtype: torch.dtype) -> None:
    """Raise NumericsError where a VAE's number format was too small for its activations."""
    if not bool(latents.isfinite().all()):
        raise NumericsError(
            f"prior: the VAE's latents are not finite in {dtype}; expected finite ones; "
            "set prior.vae_dtype to float32"
        )


def _scaled(vae: Any, mean: Tensor) -> Tensor:
    return (mean - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor
