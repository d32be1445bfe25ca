"""A shelf of latents with what their captions may say: the batches of the priors on latents."""

from dataclasses import dataclass

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion_kit.seeding import generator as make_generator
from dreamfusion_kit.toybox.caption_table import CaptionTable, view_index
from dreamfusion_kit.toybox.latent_settings import DenoiserTrainingSection, ShelfSection
from dreamfusion_kit.toybox.shelf import render_shelf
from dreamfusion_kit.toybox.training import mixed_precision
from dreamfusion_kit.toybox.vae_model import scaled_latents

_CPU_CHUNK, _GPU_CHUNK = 32, 512  # images encoded at once


@dataclass(frozen=True)
class LatentShelf:
    """Scaled latents of renders over random backgrounds."""

    latents: Float[Tensor, "images channels height width"]
    color_index: Int[Tensor, " images"]
    object_index: Int[Tensor, " images"]
    view_index: Int[Tensor, " images"]

    def batch(
        self,
        size: int,
        table: CaptionTable,
        *,
        caption_dropout: float,
        generator: torch.Generator,
    ) -> tuple[Float[Tensor, "batch channels height width"], Int[Tensor, " batch"]]:
        """Draw latents and the number of a caption for each."""
        count, device = len(self.latents), generator.device
        chosen = torch.randint(count, (size,), generator=generator, device=device)
        captions = table.draw(
            self.color_index[chosen],
            self.object_index[chosen],
            self.view_index[chosen],
            dropout=caption_dropout,
            generator=generator,
        )
        return self.latents[chosen], captions


@torch.no_grad()
def encode_shelf(
    vae: AutoencoderKL,
    settings: DenoiserTrainingSection,
    renders: ShelfSection,
    number: int,
    *,
    device: torch.device,
) -> LatentShelf:
    """Render shelf `number` and encode each render over several backgrounds."""
    shelf = render_shelf(renders, number, device=device)
    draw = make_generator(settings.seed, "shelf-background", number, device=device)
    indices = torch.arange(len(shelf), device=device).repeat(settings.backgrounds_per_render)
    parts: list[Tensor] = []
    for chunk in indices.split(_CPU_CHUNK if device.type == "cpu" else _GPU_CHUNK):
        images = shelf.images(chunk, settings.background, generator=draw)
        with mixed_precision(device):
            parts.append(scaled_latents(vae, images).float())
    views = view_index(shelf.azimuth_deg, shelf.elevation_deg)
    return LatentShelf(
        latents=torch.cat(parts),
        color_index=shelf.color_index[indices],
        object_index=shelf.object_index[indices],
        view_index=views[indices],
    )
