"""Train the toybox's diffusion prior: v-prediction on renders with captions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from dreamfusion_kit.seeding import generator as make_generator
from dreamfusion_kit.toybox.captions import NUM_ATTRIBUTES, attributes, caption
from dreamfusion_kit.toybox.dataset import Dataset
from dreamfusion_kit.toybox.prior_model import ToyboxPrior
from dreamfusion_kit.toybox.settings import PriorTrainingSection
from dreamfusion_kit.toybox.shapes import COLORS, OBJECTS
from dreamfusion_kit.toybox.training import (
    AveragedWeights,
    learning_rate,
    make_optimizer,
    resume_training,
    save_training,
    stratified,
)

_SHEET_VIEWS = ("front", "left side", "right side")
_SHEET_STEPS = 25


def train_prior(
    settings: PriorTrainingSection,
    dataset: Dataset,
    scratch: Path,
    *,
    device: torch.device,
    initial: Path | None = None,
    workers: int = 0,
    report: Callable[[int, float], None],
) -> ToyboxPrior:
    """Train, or resume from `scratch`; return the model with averaged weights.

    `initial` is a directory that an earlier training run wrote; its weights replace the random
    ones. `report` is called with each step and its loss. Every draw is addressed by its step.
    So a killed run that resumes sees the batches that it would have seen, and so does a run
    whose batches are drawn by `workers` other processes, which keep a GPU busy.
    """
    model = ToyboxPrior(settings, dataset.rgba.shape[1])
    if initial is not None:
        model.load_pretrained(initial)
    model.to(device)
    optimizer = make_optimizer(model, settings)
    averages = AveragedWeights(model, settings.ema_decay)
    checkpoint = scratch / "prior.safetensors"
    start = resume_training(checkpoint, model, optimizer, averages)
    batches = DataLoader(
        _Batches(settings, dataset, model.scheduler.config["num_train_timesteps"]),
        batch_size=None,
        sampler=range(start, settings.num_steps),
        num_workers=workers,
        generator=torch.Generator(),  # its own; otherwise it would draw from the global one
    )
    for step, batch in enumerate(batches, start):
        # Set the rate.
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step)

        # Descend on one batch.
        loss, attribute_loss = _losses(model, batch)
        optimizer.zero_grad(set_to_none=True)
        (loss + settings.attribute_lambda * attribute_loss).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        averages.update(model, step)
        report(step, float(loss.detach()))

        # Save a checkpoint.
        if (step + 1) % settings.checkpoint_every_steps == 0 or step + 1 == settings.num_steps:
            save_training(checkpoint, step + 1, model, optimizer, averages)
        if (step + 1) % settings.sample_every_steps == 0:
            _write_sheet(model, averages, scratch / f"samples-{step + 1:06d}.png")
    averages.copy_to(model)
    return model


@dataclass(frozen=True)
class _Batch:
    """What one step learns from, on the CPU."""

    images: Float[Tensor, "batch h w 3"]
    noise: Float[Tensor, "batch channels rows columns"]
    timesteps: Int[Tensor, " batch"]
    captions: list[str]


class _Batches(TorchDataset[_Batch]):
    """The batches by step: each depends only on the seed and its step, not on the process."""

    def __init__(
        self, settings: PriorTrainingSection, dataset: Dataset, num_timesteps: int
    ) -> None:
        self._settings = settings
        self._dataset = dataset
        self._num_timesteps = num_timesteps

    def __getitem__(self, step: int) -> _Batch:
        settings, dataset = self._settings, self._dataset
        draw = make_generator(settings.seed, "prior-batch", step)
        indices = _weighted_indices(settings, dataset, draw)
        images = dataset.images(indices, settings.background, generator=draw)
        captions = dataset.captions(indices, generator=draw)
        dropped = torch.rand(settings.batch_size, generator=draw) < settings.caption_dropout
        captions = ["" if drop else text for drop, text in zip(dropped, captions, strict=True)]
        patch, (batch, height, width, channels) = settings.patch_size, images.shape
        folded = (batch, channels * patch**2, height // patch, width // patch)
        noise = torch.randn(folded, generator=draw)
        timesteps = _stratified_timesteps(settings, self._num_timesteps, draw)
        return _Batch(images, noise, timesteps, captions)


def _losses(model: ToyboxPrior, batch: _Batch) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return one batch's two losses.

    The first is the mean squared error of v = alpha_t eps - sigma_t x (Salimans & Ho 2022,
    app. D), the second the loss of the captions' attributes.
    """
    device = next(model.parameters()).device
    clean = model.to_model_space(batch.images.to(device))
    noise, timesteps = batch.noise.to(device), batch.timesteps.to(device)
    scheduler: Any = model.scheduler  # Its stubs ask for int32 timesteps; any integer will do.
    noisy = scheduler.add_noise(clean, noise, timesteps)
    velocity = scheduler.get_velocity(clean, noise, timesteps)
    noisy = noisy.to(memory_format=torch.channels_last)
    text = model.encode(batch.captions)
    predicted = model.unet(noisy, timesteps, text).sample
    loss = torch.nn.functional.mse_loss(predicted, velocity)
    return loss, _attribute_loss(model, text, batch.captions)


def _attribute_loss(
    model: ToyboxPrior, text: Float[Tensor, "batch tokens width"], captions: Sequence[str]
) -> Float[Tensor, ""]:
    """Cross-entropy of colour, object, view and side, read linearly from the mean text feature."""
    logits = model.attribute_head(text.mean(1)).split(NUM_ATTRIBUTES, dim=1)
    labels = torch.tensor([attributes(caption) for caption in captions], device=text.device)
    losses = [
        torch.nn.functional.cross_entropy(values, label)
        for values, label in zip(logits, labels.T, strict=True)
    ]
    return torch.stack(losses).sum()


def _weighted_indices(
    settings: PriorTrainingSection, dataset: Dataset, draw: torch.Generator
) -> Int[Tensor, " batch"]:
    """Draw renders with replacement, with probability proportional to the object's weight."""
    weights = torch.tensor([settings.object_weights[name] for name in OBJECTS])
    return torch.multinomial(
        weights[dataset.object_index], settings.batch_size, replacement=True, generator=draw
    )


def _stratified_timesteps(
    settings: PriorTrainingSection, num_timesteps: int, draw: torch.Generator
) -> Int[Tensor, " batch"]:
    """Draw one timestep from each of `batch_size` equally likely parts: less noise in the loss."""
    unit = stratified(settings.batch_size, draw)
    return (unit**settings.timestep_power * num_timesteps).long()


def _write_sheet(model: ToyboxPrior, averages: AveragedWeights, path: Path) -> None:
    """Draw every object in one colour from three sides with the averaged weights."""
    current = {name: p.detach().clone() for name, p in model.named_parameters()}
    averages.copy_to(model)
    model.eval()
    colors = tuple(COLORS)
    subjects = [caption(colors[i % len(colors)], name) for i, name in enumerate(OBJECTS)]
    rows: list[Tensor] = []
    for view in _SHEET_VIEWS:
        prompts = [f"{subject}, {view} view" for subject in subjects]
        images = model.sample(prompts, guidance_scale=3.0, num_steps=_SHEET_STEPS, seed=0)
        rows.append(torch.cat(list(images.cpu()), dim=1))
    Image.fromarray((torch.cat(rows) * 255).round().byte().numpy()).save(path)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(current[name])
    model.train()
