"""Train a prior on the toybox's latents: the same loop for the U-Net and for the flow."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.seeding import generator as make_generator
from dreamfusion_kit.toybox.caption_table import CaptionTable, caption_table
from dreamfusion_kit.toybox.denoiser import Denoiser, Text
from dreamfusion_kit.toybox.latent_settings import DenoiserTrainingSection, ShelfSection
from dreamfusion_kit.toybox.latent_shelf import LatentShelf, encode_shelf
from dreamfusion_kit.toybox.progress_sheet import write_sheet
from dreamfusion_kit.toybox.shelf import Shelves
from dreamfusion_kit.toybox.training import (
    AveragedWeights,
    compiled_where_it_pays,
    descend,
    stratified,
)

_CAPTIONS_AT_ONCE = 512


def train_denoiser(
    model: Denoiser,
    settings: DenoiserTrainingSection,
    renders: ShelfSection,
    scratch: Path,
    *,
    device: torch.device,
    report: Callable[[int, float], None],
) -> None:
    """Train the model's network, or resume from `scratch`; it ends with the averaged weights.

    `report` gets each step and its loss. Every draw is addressed by its step, and renders,
    captions and noise are made on the device.
    """
    model.to(device)
    network = model.network
    compiled_where_it_pays(network)
    table = caption_table().to(device)
    text = _features(model, table)
    shelves = Shelves(
        partial(encode_shelf, model.vae, settings, renders, device=device),
        settings.steps_per_shelf,
    )
    averages = AveragedWeights(network, settings.ema_decay)

    def draw_samples(step: int) -> None:
        if (step + 1) % settings.sample_every_steps == 0:
            write_sheet(model, network, averages, scratch, step)

    descend(
        network,
        settings,
        scratch / "network.safetensors",
        lambda step: _loss(model, settings, shelves.at(step), table, text, step),
        report=report,
        averages=averages,
        after_step=draw_samples,
    )
    averages.copy_to(network)
    network.eval()


def _features(model: Denoiser, table: CaptionTable) -> Text:
    """Return the frozen encoder's features of every caption, once for the whole training."""
    captions = table.captions
    starts = range(0, len(captions), _CAPTIONS_AT_ONCE)
    parts = [model.encode(captions[start : start + _CAPTIONS_AT_ONCE]) for start in starts]
    pooled = [part.pooled for part in parts if part.pooled is not None]
    return Text(torch.cat([part.hidden for part in parts]), torch.cat(pooled) if pooled else None)


def _loss(
    model: Denoiser,
    settings: DenoiserTrainingSection,
    shelf: LatentShelf,
    table: CaptionTable,
    text: Text,
    step: int,
) -> Float[Tensor, ""]:
    device = shelf.latents.device
    draw = make_generator(settings.seed, "denoiser-batch", step, device=device)
    latents, numbers = shelf.batch(
        settings.batch_size, table, caption_dropout=settings.caption_dropout, generator=draw
    )
    noise = torch.randn(latents.shape, generator=draw, device=device)
    times = stratified(settings.batch_size, draw) ** settings.timestep_power
    return model.loss(latents, noise, times, text.rows(numbers))
