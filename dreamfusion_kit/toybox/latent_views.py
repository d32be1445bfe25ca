"""A shelf of objects' views as the multi-view prior learns from them: latents, cameras and text."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion_kit.seeding import generator as make_generator
from dreamfusion_kit.toybox.latent_model import ToyboxLatent
from dreamfusion_kit.toybox.multi_view_settings import MultiViewTrainingSection
from dreamfusion_kit.toybox.object_views import ObjectViews, render_object_views
from dreamfusion_kit.toybox.training import mixed_precision
from dreamfusion_kit.toybox.vae_model import scaled_latents

_CPU_CHUNK, _GPU_CHUNK = 8, 128  # objects encoded at once


@dataclass(frozen=True)
class LatentViews:
    """Scaled latents of objects' views, each view over a background of its own.

    Rows go through the objects as often as they were encoded; all else has one row per object.
    `plain` is the text that names no view, `named` that of each view's words.
    """

    latents: Float[Tensor, "rows views channels height width"]
    cameras: Float[Tensor, "objects views 16"]
    plain: Float[Tensor, "objects tokens features"]
    named: Float[Tensor, "objects views tokens features"]

    def objects(self, rows: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """Return the object of each row of latents."""
        return rows % len(self.cameras)


@torch.no_grad()
def encode_object_views(
    latent: ToyboxLatent, settings: MultiViewTrainingSection, number: int, *, device: torch.device
) -> LatentViews:
    """Render shelf `number` and encode each object over several backgrounds."""
    shelf = render_object_views(settings, number, device=device)
    draw = make_generator(settings.seed, "multi-view-background", number, device=device)
    indices = torch.arange(len(shelf.captions), device=device)
    indices = indices.repeat(settings.backgrounds_per_object)
    parts: list[Tensor] = []
    for chunk in indices.split(_CPU_CHUNK if device.type == "cpu" else _GPU_CHUNK):
        images = shelf.images(chunk, settings.background, generator=draw)
        with mixed_precision(device):
            parts.append(scaled_latents(latent.vae, images).float())
    latents = torch.cat(parts).unflatten(0, (-1, settings.num_views))
    return LatentViews(latents, shelf.cameras, *_texts(latent, shelf))


def _texts(
    latent: ToyboxLatent, shelf: ObjectViews
) -> tuple[
    Float[Tensor, "objects tokens features"], Float[Tensor, "objects views tokens features"]
]:
    named = [
        f"{caption}, {word} view"
        for caption, words in zip(shelf.captions, shelf.words, strict=True)
        for word in words
    ]
    plain = latent.encode(shelf.captions).hidden
    return plain, latent.encode(named).hidden.unflatten(0, (len(plain), -1))
