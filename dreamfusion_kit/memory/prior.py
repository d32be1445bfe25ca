"""The memory that a prior takes on its device, from its configuration alone.

Its modules are built on the meta device and called as the guidance calls them; `LiveMemory`
counts. Batches beyond any in use are read off a line.
"""

from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor

from dreamfusion_kit.memory.architectures import Components
from dreamfusion_kit.memory.denoiser import DenoiserMemory, denoiser_memory
from dreamfusion_kit.memory.denoiser_calls import family_call, reads_clip_too, unet_or_flow_call
from dreamfusion_kit.memory.encoder import (
    EncoderMemory,
    clip_memory,
    family_vae_memory,
    vae_memory,
)
from dreamfusion_kit.memory.line import extrapolate
from dreamfusion_kit.memory.meta_model import on_meta, stored
from dreamfusion_kit.priors.config.components import MVDREAM_UNET
from dreamfusion_kit.priors.config.json_file import checked
from dreamfusion_kit.priors.config.schema import MvdreamUnetConfig
from dreamfusion_kit.priors.families.choose import family_of
from dreamfusion_kit.priors.network import offload
from dreamfusion_kit.priors.network.multi_view import make_multi_view
from dreamfusion_kit.priors.network.mvdream_layout import as_diffusers
from dreamfusion_kit.recipe import schema

CLIP_TOKENS = 77  # every CLIP's length, and the length that IF's T5 is padded to
# Beyond this, counts are extrapolated on a line. It is far above what fits a device.
_LARGEST_BATCH = 64


@dataclass(frozen=True)
class PriorMemory:
    """Bytes on the device. Activations of one forward are freed before the next begins.

    The denoiser's are explained in `DenoiserMemory`, the encoder's in `EncoderMemory`.
    """

    denoiser: int = 0
    predicting: int = 0
    encoder: int = 0
    encoded: int = 0
    encoding: int = 0
    phi: int = 0
    learning: int = 0
    moved: int = 0


def prior_memory(
    section: schema.PriorSection,
    guidance: schema.GuidanceSection,
    parts: Components,
    *,
    batch_size: int,
    render_size_px: int,
) -> PriorMemory:
    """Return the memory of `batch_size` renders of `render_size_px`.

    Args:
        section: The recipe's prior: number formats and the size of its images.
        guidance: Decides how many texts are read, and whether a second denoiser learns.
        parts: The configurations that `components.components` gave.
        batch_size: Renders per step.
        render_size_px: Their side, from which they are resized.
    """

    def count(batch: int) -> PriorMemory:
        # Rendered views count as the field's memory.
        images = torch.empty(
            batch, 3, render_size_px, render_size_px, device="meta", requires_grad=True
        )
        match section:
            case schema.AnalyticSection():
                return PriorMemory()
            case schema.ClipPriorSection():
                return _together(clip_memory(parts["clip"], images), DenoiserMemory())
            case schema.PixelUnetSection():
                return _pixel_unet(section, guidance, parts, images)
            case schema.MultiViewUnetSection():
                return _multi_view_unet(section, guidance, parts, images)
            case schema.LatentTransformerSection():
                return _latent_transformer(section, guidance, parts, images)
            case schema.LatentUnetSection() | schema.FlowTransformerSection():
                return _unet_or_flow(section, guidance, parts, images)
            case _:
                assert_never(section)

    # The line goes through whole groups of the views that are denoised together.
    two_groups = 2 * section.num_views
    return extrapolate(count, batch_size, most=_LARGEST_BATCH // two_groups * two_groups)


def _pixel_unet(
    section: schema.PixelUnetSection,
    guidance: schema.GuidanceSection,
    parts: Components,
    images: Tensor,
) -> PriorMemory:
    unet = on_meta(parts["unet"], section.dtype)
    side, channels = unet.config["sample_size"], unet.config["in_channels"]
    noisy = torch.empty(len(images), channels, side, side, device="meta")
    call = unet_or_flow_call(unet, side, CLIP_TOKENS)
    return _together(EncoderMemory(), denoiser_memory(unet, guidance, noisy, call))


def _multi_view_unet(
    section: schema.MultiViewUnetSection,
    guidance: schema.GuidanceSection,
    parts: Components,
    images: Tensor,
) -> PriorMemory:
    config = parts["unet"]
    if config.get("_class_name") == MVDREAM_UNET:
        config = as_diffusers(checked(MvdreamUnetConfig, config, "unet/config.json"))
    unet = on_meta(config, section.dtype)
    make_multi_view(unet, section.num_views).requires_grad_(False)
    offload.store(unet, section)
    side, channels = config["sample_size"], config["in_channels"]
    encoder = EncoderMemory()
    noisy = torch.empty(len(images), channels, side, side, device="meta")
    if section.vae_dtype is not None:
        encoder, noisy = vae_memory(parts["vae"], section.vae_dtype, section.image_size_px, images)
    call = unet_or_flow_call(unet, noisy.shape[-1], CLIP_TOKENS)
    return _together(encoder, denoiser_memory(unet, guidance, noisy, call))


def _unet_or_flow(
    section: schema.LatentUnetSection | schema.FlowTransformerSection,
    guidance: schema.GuidanceSection,
    parts: Components,
    images: Tensor,
) -> PriorMemory:
    denoiser = stored(parts[section.folders[0]], section)
    num_tokens = CLIP_TOKENS
    if isinstance(section, schema.FlowTransformerSection):
        num_tokens = section.t5_tokens + (CLIP_TOKENS if reads_clip_too(denoiser) else 0)
    encoder, latents = vae_memory(parts["vae"], section.vae_dtype, section.image_size_px, images)
    call = unet_or_flow_call(denoiser, latents.shape[-1], num_tokens)
    return _together(encoder, denoiser_memory(denoiser, guidance, latents, call))


def _latent_transformer(
    section: schema.LatentTransformerSection,
    guidance: schema.GuidanceSection,
    parts: Components,
    images: Tensor,
) -> PriorMemory:
    denoiser = stored(parts["transformer"], section)
    encoder, latents = family_vae_memory(
        family_of(type(denoiser).__name__),
        parts["vae"],
        section.vae_dtype,
        section.image_size_px,
        images,
    )
    call = family_call(denoiser, latents, section.text_tokens)
    return _together(encoder, denoiser_memory(denoiser, guidance, latents, call))


def _together(encoder: EncoderMemory, denoiser: DenoiserMemory) -> PriorMemory:
    return PriorMemory(
        denoiser=denoiser.weights,
        moved=denoiser.moved,
        predicting=denoiser.predicting,
        phi=denoiser.phi,
        learning=denoiser.learning,
        encoder=encoder.weights,
        encoded=encoder.encoded,
        encoding=encoder.encoding,
    )
