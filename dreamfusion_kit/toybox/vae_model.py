"""The toybox's autoencoder: a small `AutoencoderKL` from 128 px to 16x16 latents."""

from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor

from dreamfusion_kit.toybox.latent_settings import VaeTrainingSection
from dreamfusion_kit.toybox.saved_model import expect_files, half_precision
from dreamfusion_kit.toybox.vae_start import start_as_averages

_WEIGHTS_FILE = "diffusion_pytorch_model.safetensors"
SCALING_FACTOR = 0.18215  # Stable Diffusion's, so that what it does to latents is tried here too


def make_vae(settings: VaeTrainingSection, image_size_px: int) -> AutoencoderKL:
    """Draw initial weights from `settings.seed`.

    There is no attention in the middle: the objects are small in the receptive field already.
    """
    levels = len(settings.block_out_channels)
    with torch.random.fork_rng(devices=[]):
        # The library initialises from the global generator only.
        torch.manual_seed(settings.seed)
        # The library's annotations have tuples of one item.
        blocks: dict[str, Any] = {
            "block_out_channels": settings.block_out_channels,
            "down_block_types": ("DownEncoderBlock2D",) * levels,
            "up_block_types": ("UpDecoderBlock2D",) * levels,
        }
        vae = AutoencoderKL(
            **blocks,
            in_channels=3,
            out_channels=3,
            latent_channels=settings.latent_channels,
            layers_per_block=settings.layers_per_block,
            norm_num_groups=settings.norm_groups,
            mid_block_add_attention=False,
            sample_size=image_size_px,
            scaling_factor=SCALING_FACTOR,
            shift_factor=0.0,  # Stable Diffusion 3's pipeline needs a number
        )
    start_as_averages(vae)
    vae.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return vae


def save_vae(vae: AutoencoderKL, directory: Path) -> None:
    """Write the VAE in diffusers' layout, in half precision."""
    half_precision(vae).save_pretrained(directory)


def load_vae(directory: Path, device: torch.device) -> AutoencoderKL:
    """Return the frozen VAE that `save_vae` wrote, in float32.

    Raises `WeightsError` if there is none.
    """
    expect_files(directory, "config.json", _WEIGHTS_FILE, made_by="train-vae")
    # `from_pretrained` would record the directory, and a saved copy would hold its path.
    config: Any = AutoencoderKL.load_config(directory)
    config.pop("_name_or_path", None)
    with torch.random.fork_rng(devices=[]):  # weights are drawn before they are read
        vae: Any = AutoencoderKL.from_config(config)
    vae.load_state_dict(load_file(directory / _WEIGHTS_FILE))
    vae.to(memory_format=torch.channels_last)
    return vae.to(device).eval().requires_grad_(False)


def latent_size(vae: AutoencoderKL) -> int:
    """Return the side of the latents."""
    return vae.config["sample_size"] >> (len(vae.config["block_out_channels"]) - 1)


def to_signed(images: Float[Tensor, "batch h w 3"]) -> Float[Tensor, "batch 3 h w"]:
    """Map images in [0, 1] to what the VAE reads, in [-1, 1]."""
    return images.permute(0, 3, 1, 2) * 2 - 1


def to_unit(signed: Float[Tensor, "batch 3 h w"]) -> Float[Tensor, "batch h w 3"]:
    """Undo `to_signed`, clipped to [0, 1]."""
    return ((signed + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1)


@torch.no_grad()
def standardise(vae: AutoencoderKL, latents: Float[Tensor, "batch channels height width"]) -> None:
    """Give the VAE's latents, of which these are a sample, mean 0 and variance 1 once scaled.

    Each channel's shift and scale go into the 1x1 convolutions on both sides of the latents, so
    reconstructions stay what they were. A diffusion then starts from the noise that it ends in.
    """
    before: Any = vae.quant_conv
    after: Any = vae.post_quant_conv
    mean = latents.mean(dim=(0, 2, 3))
    gain = 1 / (SCALING_FACTOR * latents.std(dim=(0, 2, 3)))
    channels = len(mean)
    before.bias[:channels] -= mean
    before.bias[:channels] *= gain
    before.weight[:channels] *= gain[:, None, None, None]
    before.bias[channels:] += 2 * gain.log()  # the other half are logarithms of variances
    after.bias += after.weight[:, :, 0, 0] @ mean
    after.weight /= gain[None, :, None, None]


def scaled_latents(
    vae: AutoencoderKL, images: Float[Tensor, "batch h w 3"]
) -> Float[Tensor, "batch channels height width"]:
    """Return the scaled means of the encoder's Gaussians, as the prior's backends see images."""
    encoded: Any = vae.encode(to_signed(images))
    return encoded.latent_dist.mode() * SCALING_FACTOR


def decoded(
    vae: AutoencoderKL, latents: Float[Tensor, "batch channels height width"]
) -> Float[Tensor, "batch h w 3"]:
    """Return the images of scaled latents, in [0, 1]."""
    decoder: Any = vae  # annotated as if it took legacy tensors only
    return to_unit(decoder.decode(latents / SCALING_FACTOR).sample)
