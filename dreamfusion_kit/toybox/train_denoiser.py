"""Train a prior on the toybox's latents: the same loop for the U-Net and for the flow."""

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from dreamfusion_kit.seeding import generator as make_generator
from dreamfusion_kit.toybox.caption_table import CaptionTable, caption_table
from dreamfusion_kit.toybox.captions import caption
from dreamfusion_kit.toybox.denoiser import Denoiser, Text
from dreamfusion_kit.toybox.latent_settings import DenoiserTrainingSection, ShelfSection
from dreamfusion_kit.toybox.latent_shelf import LatentShelf, encode_shelf
from dreamfusion_kit.toybox.shapes import COLORS, OBJECTS
from dreamfusion_kit.toybox.training import (
    AveragedWeights,
    compiled_where_it_pays,
    learning_rate,
    make_optimizer,
    resume_training,
    save_training,
    stratified,
)

_SHEET_VIEWS = ("front", "left side", "right side", "back")
_SHEET_STEPS = 10
_SHEET_SCALE = 3.0
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
    optimizer = make_optimizer(network, settings)
    averages = AveragedWeights(network, settings.ema_decay)
    checkpoint = scratch / "network.safetensors"
    start = resume_training(checkpoint, network, optimizer, averages)
    shelf_number, shelf = None, None
    for step in range(start, settings.num_steps):
        # Render and encode where the last shelf is used up.
        if shelf is None or step // settings.steps_per_shelf != shelf_number:
            shelf_number = step // settings.steps_per_shelf
            shelf = encode_shelf(model.vae, settings, renders, shelf_number, device=device)

        # Descend on one batch.
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step)
        loss = _loss(model, settings, shelf, table, text, step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        averages.update(network, step)
        report(step, float(loss.detach()))

        # Save a checkpoint.
        if (step + 1) % settings.checkpoint_every_steps == 0 or step + 1 == settings.num_steps:
            save_training(checkpoint, step + 1, network, optimizer, averages)
        if (step + 1) % settings.sample_every_steps == 0:
            _write_sheet(model, averages, scratch / f"samples-{step + 1:06d}.png")
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


def _write_sheet(model: Denoiser, averages: AveragedWeights, path: Path) -> None:
    """Draw every object in one colour from four sides with the averaged weights."""
    network = model.network
    current = {name: p.detach().clone() for name, p in network.named_parameters()}
    averages.copy_to(network)
    network.eval()
    sample_sheet(model).save(path)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(current[name])
    network.train()


def sample_sheet(model: Denoiser) -> Image.Image:
    """Return samples: objects across, views down, each column with the same noise throughout."""
    colors = tuple(COLORS)
    subjects = [caption(colors[i % len(colors)], name) for i, name in enumerate(OBJECTS)]
    rows: list[Tensor] = []
    for view in _SHEET_VIEWS:
        prompts = [f"{subject}, {view} view" for subject in subjects]
        images = model.sample(prompts, guidance_scale=_SHEET_SCALE, num_steps=_SHEET_STEPS, seed=0)
        rows.append(torch.cat(list(images.cpu()), dim=1))
    return Image.fromarray((torch.cat(rows) * 255).round().byte().numpy())
