"""Train the toybox's autoencoder: L1 and a little KL on fresh renders over plain backgrounds."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.seeding import generator as make_generator
from dreamfusion_kit.toybox.dataset import Dataset
from dreamfusion_kit.toybox.latent_settings import ShelfSection, VaeTrainingSection
from dreamfusion_kit.toybox.shelf import Shelves, render_shelf
from dreamfusion_kit.toybox.training import (
    AveragedWeights,
    compiled_where_it_pays,
    descend,
    mixed_precision,
)
from dreamfusion_kit.toybox.vae_model import (
    decoded,
    make_vae,
    scaled_latents,
    standardise,
    to_signed,
)

_MEASURED_IMAGES = 512
_CHUNK = 32
_FRESH_SHELF = -1  # a number that no step of a training asks for


def train_vae(
    settings: VaeTrainingSection,
    renders: ShelfSection,
    scratch: Path,
    *,
    device: torch.device,
    report: Callable[[int, float], None],
) -> AutoencoderKL:
    """Train, or resume from `scratch`; return the averaged VAE with standardised latents.

    `report` gets each step and its loss. Every draw is addressed by its step.
    """
    vae: Any = make_vae(settings, renders.camera.largest_image_size_px)
    vae.to(device)
    compiled_where_it_pays(vae.encoder, vae.decoder)
    shelves = Shelves(partial(render_shelf, renders, device=device), settings.steps_per_shelf)
    averages = AveragedWeights(vae, settings.ema_decay)
    descend(
        vae,
        settings,
        scratch / "vae.safetensors",
        lambda step: _loss(vae, settings, shelves.at(step), step),
        report=report,
        averages=averages,
    )
    averages.copy_to(vae)
    vae.eval()
    standardise(vae, _latents_of_fresh_renders(vae, settings, renders))
    return vae


def _loss(
    vae: AutoencoderKL, settings: VaeTrainingSection, shelf: Dataset, step: int
) -> Float[Tensor, ""]:
    """Mean absolute error per pixel value, and the KL divergence per latent number."""
    device = shelf.rgba.device
    draw = make_generator(settings.seed, "vae-batch", step, device=device)
    indices = torch.randint(len(shelf), (settings.batch_size,), generator=draw, device=device)
    signed = to_signed(shelf.images(indices, settings.background, generator=draw))
    signed = signed.contiguous(memory_format=torch.channels_last)
    with mixed_precision(device):
        encoded: Any = vae.encode(signed)
        gaussian = encoded.latent_dist
        noise = torch.randn(gaussian.mean.shape, generator=draw, device=device)
        output: Any = vae.decode(gaussian.mean + gaussian.std * noise)
    divergence = gaussian.kl() / gaussian.mean[0].numel()
    error = (output.sample.float() - signed).abs().mean()
    return error + settings.kl_lambda * divergence.float().mean()


@torch.no_grad()
def reconstruction_psnr(
    vae: AutoencoderKL, settings: VaeTrainingSection, renders: ShelfSection
) -> float:
    """Return the mean PSNR in dB of fresh renders that no training saw, through the VAE's means."""
    device = next(vae.parameters()).device
    values: list[Tensor] = []
    for images in _fresh_images(settings, renders, device):
        error = (decoded(vae, scaled_latents(vae, images)) - images).square().mean(dim=(1, 2, 3))
        values.append(-10 * error.log10())
    return float(torch.cat(values).mean())


@torch.no_grad()
def _latents_of_fresh_renders(
    vae: AutoencoderKL, settings: VaeTrainingSection, renders: ShelfSection
) -> Float[Tensor, "images channels height width"]:
    device = next(vae.parameters()).device
    parts: list[Tensor] = []
    for images in _fresh_images(settings, renders, device):
        encoded: Any = vae.encode(to_signed(images))
        parts.append(encoded.latent_dist.mode())
    return torch.cat(parts)


def _fresh_images(
    settings: VaeTrainingSection, renders: ShelfSection, device: torch.device
) -> Iterator[Float[Tensor, "batch h w 3"]]:
    """Yield renders of a shelf of their own, each over a background, a few at a time."""
    section = renders.model_copy(update={"shelf_size": _MEASURED_IMAGES})
    shelf = render_shelf(section, _FRESH_SHELF, device=device)
    draw = make_generator(settings.seed, "vae-measured", device=device)
    for indices in torch.arange(len(shelf), device=device).split(_CHUNK):
        yield shelf.images(indices, settings.background, generator=draw)
