"""The memory of what a gradient passes on its way to the image: a VAE's encoder, or a CLIP.

Here a gradient goes back through the attention, so that the scores of all pairs are held, as on
CUDA (see `priors/network/attention.py`); a CPU takes less.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from dreamfusion_kit.memory.architectures import Config
from dreamfusion_kit.memory.live import LiveMemory
from dreamfusion_kit.memory.meta_model import module_bytes, on_meta
from dreamfusion_kit.priors.base import to_pixel_space
from dreamfusion_kit.priors.families.base import Family
from dreamfusion_kit.priors.resize import resized


@dataclass(frozen=True)
class EncoderMemory:
    """Bytes on the device.

    `encoded` are the activations that wait for the gradient while a denoiser predicts, `encoding`
    the peak of forward and backward.
    """

    weights: int = 0
    encoded: int = 0
    encoding: int = 0


def vae_memory(
    config: Config, dtype: str, image_size_px: int, images: Tensor
) -> tuple[EncoderMemory, Tensor]:
    """Return the memory of an AutoencoderKL as the priors keep it, and its latents."""
    vae = on_meta(config, dtype)
    del vae.decoder, vae.post_quant_conv

    def encode() -> list[Tensor]:
        signed = to_pixel_space(images, image_size_px).to(vae.dtype)
        return [vae.encode(signed).latent_dist.mode()]

    return _counted(vae, encode, images)


def family_vae_memory(
    family: Family, config: Config, dtype: str, image_size_px: int, images: Tensor
) -> tuple[EncoderMemory, Tensor]:
    """Return the memory of a family's VAE, called as the prior calls it, and its latents."""
    vae = on_meta(config, dtype)
    family.drop_decoder(vae)

    def encode() -> list[Tensor]:
        signed = to_pixel_space(images, image_size_px).to(vae.dtype)
        return [family.encode_images(vae, signed)]

    return _counted(vae, encode, images)


def clip_memory(config: Config, images: Tensor) -> EncoderMemory:
    """Return the memory of a CLIP that looks at `images`."""
    settings = CLIPConfig.from_dict(dict(config))
    with torch.device("meta"):
        model: Any = CLIPModel(settings).eval().requires_grad_(False)
    side: int = model.config.vision_config.image_size

    def encode() -> list[Tensor]:
        pixels = resized(images, side, "bicubic")
        return [pixels, model.get_image_features(pixel_values=pixels).pooler_output]

    found, _ = _counted(model, encode, images)
    return found


def _counted(
    model: torch.nn.Module, encode: Callable[[], list[Tensor]], images: Tensor
) -> tuple[EncoderMemory, Tensor]:
    """Count forward and backward; `encode` returns what its caller keeps, features last."""
    with LiveMemory() as memory, torch.device("meta"):
        kept = encode()
        waiting = memory.alive_bytes
        torch.autograd.grad(kept[-1], images, torch.empty_like(kept[-1]))
    return EncoderMemory(module_bytes(model), waiting, memory.peak_bytes), kept[-1].detach()
