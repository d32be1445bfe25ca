"""Train the toybox's diffusion prior and its text encoder on renders with captions."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion_kit.seeding import generator as make_generator
from dreamfusion_kit.toybox.caption_table import CaptionTable, caption_table, view_index
from dreamfusion_kit.toybox.captions import NUM_ATTRIBUTES, attributes
from dreamfusion_kit.toybox.dataset import Dataset
from dreamfusion_kit.toybox.latent_settings import ShelfSection
from dreamfusion_kit.toybox.prior_model import ToyboxPrior
from dreamfusion_kit.toybox.progress_sheet import write_sheet
from dreamfusion_kit.toybox.settings import PriorTrainingSection
from dreamfusion_kit.toybox.shelf import Shelves, render_shelf
from dreamfusion_kit.toybox.text_model import token_ids
from dreamfusion_kit.toybox.training import (
    AveragedWeights,
    compiled_where_it_pays,
    descend,
    mixed_precision,
    stratified,
)
from dreamfusion_kit.toybox.velocity import velocity_loss


def train_prior(
    settings: PriorTrainingSection,
    renders: ShelfSection,
    scratch: Path,
    *,
    device: torch.device,
    report: Callable[[int, float], None],
) -> ToyboxPrior:
    """Train, or resume from `scratch`; return the model with averaged weights.

    `report` gets each step and its loss. Every draw is addressed by its step, and renders,
    backgrounds, captions and noise are made on the device.
    """
    model = ToyboxPrior(settings, renders.camera.largest_image_size_px).to(device)
    compiled_where_it_pays(model.unet)
    words = _words(model, device)
    shelves = Shelves(partial(render_shelf, renders, device=device), settings.steps_per_shelf)
    averages = AveragedWeights(model, settings.ema_decay)

    def draw_samples(step: int) -> None:
        if (step + 1) % settings.sample_every_steps == 0:
            write_sheet(model, model, averages, scratch, step)

    descend(
        model,
        settings,
        scratch / "prior.safetensors",
        lambda step: _loss(model, settings, shelves.at(step), words, step),
        report=report,
        averages=averages,
        after_step=draw_samples,
    )
    averages.copy_to(model)
    return model


@dataclass(frozen=True)
class _Words:
    """All captions by number: how they are drawn, their tokens, and what they say."""

    table: CaptionTable
    tokens: Int[Tensor, "captions tokens"]
    attributes: Int[Tensor, "captions attributes"]


def _words(model: ToyboxPrior, device: torch.device) -> _Words:
    table = caption_table()
    said = torch.tensor([attributes(caption) for caption in table.captions])
    tokens = token_ids(model.tokenizer, table.captions)
    return _Words(table.to(device), tokens.to(device), said.to(device))


def _loss(
    model: ToyboxPrior, settings: PriorTrainingSection, shelf: Dataset, words: _Words, step: int
) -> Float[Tensor, ""]:
    """Return one batch's loss: of the velocity, and of the captions' attributes."""
    device = shelf.rgba.device
    draw = make_generator(settings.seed, "prior-batch", step, device=device)
    chosen = torch.randint(len(shelf), (settings.batch_size,), generator=draw, device=device)
    images = shelf.images(chosen, settings.background, generator=draw)
    captions = words.table.draw(
        shelf.color_index[chosen],
        shelf.object_index[chosen],
        view_index(shelf.azimuth_deg[chosen], shelf.elevation_deg[chosen]),
        dropout=settings.caption_dropout,
        generator=draw,
    )
    clean = model.to_model_space(images)
    noise = torch.randn(clean.shape, generator=draw, device=device)
    times = stratified(settings.batch_size, draw) ** settings.timestep_power
    with mixed_precision(device):
        text = model.encode_tokens(words.tokens[captions])
    loss = velocity_loss(model.unet, model.scheduler, clean, noise, times, text)
    return loss + settings.attribute_lambda * _attribute_loss(
        model, text, words.attributes[captions]
    )


def _attribute_loss(
    model: ToyboxPrior,
    text: Float[Tensor, "batch tokens width"],
    labels: Int[Tensor, "batch attributes"],
) -> Float[Tensor, ""]:
    """Cross-entropy of colour, object, view and side, read linearly from the mean text feature."""
    logits = model.attribute_head(text.float().mean(1)).split(NUM_ATTRIBUTES, dim=1)
    losses = [
        torch.nn.functional.cross_entropy(values, label)
        for values, label in zip(logits, labels.T, strict=True)
    ]
    return torch.stack(losses).sum()
