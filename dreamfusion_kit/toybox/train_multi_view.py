"""Fine-tune the latent prior on several consistent views of one object (MVDream, s. 3.2).

The loss is the latent prior's, the squared error of v. Captions name no view: the camera does.
All views of an object share their timestep, and each has noise of its own, as in the guidance.

What a camera means is also taught by the latent prior, which knows views by their words: beside
the renders, its prediction for the caption with the view's words is a target.

Where a caption is left out, the only target is the latent prior's prediction without words: the
camera is to mean nothing there, so that classifier-free guidance amplifies the view with the
caption, as it does where words name the view.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from dreamfusion_kit.priors.network.multi_view import CAMERA
from dreamfusion_kit.seeding import generator as make_generator
from dreamfusion_kit.toybox.latent_views import LatentViews, encode_object_views
from dreamfusion_kit.toybox.multi_view_model import ToyboxMultiView
from dreamfusion_kit.toybox.multi_view_settings import MultiViewTrainingSection
from dreamfusion_kit.toybox.shelf import Shelves
from dreamfusion_kit.toybox.training import (
    AveragedWeights,
    compiled_where_it_pays,
    descend,
    stratified,
)


def train_multi_view(
    model: ToyboxMultiView,
    settings: MultiViewTrainingSection,
    scratch: Path,
    *,
    device: torch.device,
    report: Callable[[int, float], None],
) -> None:
    """Train, or resume from `scratch`; the model ends with the averaged weights.

    `report` gets each step and its loss. Every draw is addressed by its step.
    """
    model.to(device)
    compiled_where_it_pays(model.teacher)
    without_words = model.latent.encode([""]).hidden
    shelves = Shelves(
        partial(encode_object_views, model.latent, settings, device=device),
        settings.steps_per_shelf,
    )
    averages = AveragedWeights(model.own, settings.ema_decay)
    descend(
        model.own,
        settings,
        scratch / "multi_view.safetensors",
        lambda step: _loss(
            model, settings, _draw(shelves.at(step), settings, without_words, step), step
        ),
        report=report,
        averages=averages,
        optimizer=_optimizer(model.own, settings),
    )
    averages.copy_to(model.own)


class _Batch(NamedTuple):
    """Views of whole objects: latents, cameras, and what student and teacher read."""

    latents: Float[Tensor, "images channels height width"]
    cameras: Float[Tensor, "images 16"]
    text: Float[Tensor, "images tokens features"]
    named: Float[Tensor, "images tokens features"]
    has_caption: Bool[Tensor, " images"]


def _optimizer(own: nn.Module, settings: MultiViewTrainingSection) -> torch.optim.AdamW:
    camera = [p for name, p in own.named_parameters() if name.startswith(CAMERA)]
    others = [p for name, p in own.named_parameters() if not name.startswith(CAMERA)]
    groups = [
        {"params": others, "factor": 1.0},
        {"params": camera, "factor": settings.camera_rate},
    ]
    decay = settings.weight_decay
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=decay, foreach=True)


def _draw(
    shelf: LatentViews,
    settings: MultiViewTrainingSection,
    without_words: Float[Tensor, "1 tokens features"],
    step: int,
) -> _Batch:
    """Draw objects, and which of them have no caption."""
    device, views = shelf.latents.device, settings.num_views
    draw = make_generator(settings.seed, "multi-view-batch", step, device=device)
    count = settings.batch_size // views
    rows = torch.randint(len(shelf.latents), (count,), generator=draw, device=device)
    objects = shelf.objects(rows)
    has_caption = torch.rand(count, generator=draw, device=device) >= settings.caption_dropout
    has_caption = has_caption.repeat_interleave(views)
    chosen = has_caption[:, None, None]
    plain = shelf.plain[objects].repeat_interleave(views, dim=0)
    named = shelf.named[objects].flatten(0, 1)
    return _Batch(
        latents=shelf.latents[rows].flatten(0, 1),
        cameras=shelf.cameras[objects].flatten(0, 1),
        text=torch.where(chosen, plain, without_words),
        named=torch.where(chosen, named, without_words),
        has_caption=has_caption,
    )


def _loss(
    model: ToyboxMultiView, settings: MultiViewTrainingSection, batch: _Batch, step: int
) -> Float[Tensor, ""]:
    """Mean squared error of v = alpha_t eps - sigma_t x (Salimans & Ho 2022, app. D), twice."""
    clean = batch.latents
    draw = make_generator(settings.seed, "multi-view-noise", step, device=clean.device)
    noise = torch.randn(clean.shape, generator=draw, device=clean.device)
    timesteps = _timesteps(settings, model, draw)
    scheduler: Any = model.latent.scheduler  # Its stubs ask for int32 timesteps; any will do.
    noisy = scheduler.add_noise(clean, noise, timesteps)
    velocity = scheduler.get_velocity(clean, noise, timesteps)
    noisy = noisy.contiguous(memory_format=torch.channels_last)
    predicted = model.predict(noisy, timesteps, batch.text, batch.cameras)
    taught = model.taught(noisy, timesteps, batch.named)
    to_render = (predicted - velocity).square().mean(dim=(1, 2, 3)) * batch.has_caption
    to_teacher = (predicted - taught).square().mean(dim=(1, 2, 3))
    return (to_render + settings.teacher_lambda * to_teacher).mean()


def _timesteps(
    settings: MultiViewTrainingSection, model: ToyboxMultiView, draw: torch.Generator
) -> Int[Tensor, " images"]:
    """Draw one timestep per object, each from its own share of the range."""
    unit = stratified(settings.batch_size // settings.num_views, draw)
    total: int = model.latent.scheduler.config["num_train_timesteps"]
    timesteps = (unit**settings.timestep_power * total).long()
    return timesteps.repeat_interleave(settings.num_views)
