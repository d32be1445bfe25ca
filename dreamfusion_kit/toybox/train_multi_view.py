"""Fine-tune the pixel prior on several consistent views of one object (MVDream, s. 3.2).

The loss is the pixel prior's, the squared error of v. Captions name no view: the camera does.
All views of an object share their timestep, and each has noise of its own, as in the guidance.

What a camera means is also taught by the pixel prior, which knows views by their words: beside
the renders, its prediction for the caption with the view's words is a target.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dreamfusion_kit.priors.network.multi_view import CAMERA
from dreamfusion_kit.seeding import generator as make_generator
from dreamfusion_kit.toybox.multi_view_model import ToyboxMultiView
from dreamfusion_kit.toybox.multi_view_settings import MultiViewTrainingSection
from dreamfusion_kit.toybox.object_views import ObjectViews, render_object_views
from dreamfusion_kit.toybox.training import (
    AveragedWeights,
    learning_rate,
    resume_training,
    save_training,
)


def train_multi_view(
    model: ToyboxMultiView,
    settings: MultiViewTrainingSection,
    scratch: Path,
    *,
    device: torch.device,
    report: Callable[[int, float], None],
) -> ToyboxMultiView:
    """Train, or resume from `scratch`; return the model with averaged weights.

    `report` gets each step and its loss. Every draw is addressed by its step.
    """
    model.to(device)
    optimizer = _optimizer(model.own, settings)
    averages = AveragedWeights(model.own, settings.ema_decay)
    checkpoint = scratch / "multi_view.safetensors"
    start = resume_training(checkpoint, model.own, optimizer, averages)
    number, shelf = None, None
    for step in range(start, settings.num_steps):
        # Render where the last shelf is used up.
        if shelf is None or step // settings.steps_per_shelf != number:
            number = step // settings.steps_per_shelf
            shelf = render_object_views(settings, number, device=device)

        # Descend on one batch.
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step) * group["factor"]
        loss = _loss(model, settings, shelf, step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.own.parameters(), 1.0)
        optimizer.step()
        averages.update(model.own, step)
        report(step, float(loss.detach()))

        # Save a checkpoint.
        if (step + 1) % settings.checkpoint_every_steps == 0 or step + 1 == settings.num_steps:
            save_training(checkpoint, step + 1, model.own, optimizer, averages)
    averages.copy_to(model.own)
    return model


def _optimizer(own: nn.Module, settings: MultiViewTrainingSection) -> torch.optim.AdamW:
    camera = [p for name, p in own.named_parameters() if name.startswith(CAMERA)]
    others = [p for name, p in own.named_parameters() if not name.startswith(CAMERA)]
    groups = [
        {"params": others, "factor": 1.0},
        {"params": camera, "factor": settings.camera_rate},
    ]
    decay = settings.weight_decay
    return torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=decay, foreach=True)


def _loss(
    model: ToyboxMultiView, settings: MultiViewTrainingSection, shelf: ObjectViews, step: int
) -> Float[Tensor, ""]:
    """Mean squared error of v = alpha_t eps - sigma_t x (Salimans & Ho 2022, app. D), twice."""
    prior, views, device = model.prior, settings.num_views, shelf.rgba.device
    draw = make_generator(settings.seed, "multi-view-batch", step, device=device)
    count = settings.batch_size // views
    objects = torch.randint(len(shelf.captions), (count,), generator=draw, device=device)
    images = shelf.images(objects, settings.background, generator=draw)
    dropped = torch.rand(count, generator=draw, device=device) < settings.caption_dropout
    captions = [
        "" if drop else shelf.captions[index]
        for drop, index in zip(dropped.tolist(), objects.tolist(), strict=True)
    ]
    clean = prior.to_model_space(images)
    noise = torch.randn(clean.shape, generator=draw, device=device)
    timesteps = _timesteps(settings, count, model, draw).repeat_interleave(views)
    scheduler: Any = prior.scheduler  # Its stubs ask for int32 timesteps; any integer will do.
    noisy = scheduler.add_noise(clean, noise, timesteps).to(memory_format=torch.channels_last)
    velocity = scheduler.get_velocity(clean, noise, timesteps)
    named = [
        f"{text}, {word} view" if text else ""
        for text, index in zip(captions, objects.tolist(), strict=True)
        for word in shelf.words[index]
    ]
    # A GPU multiplies in bfloat16; not every CPU can.
    mixed = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
    with torch.no_grad(), mixed:
        text = prior.encode(captions).repeat_interleave(views, dim=0)
        taught = model.teacher(noisy, timesteps, prior.encode(named)).sample.float()
    cameras = shelf.cameras[objects].flatten(0, 1)
    with mixed:
        predicted = model.predict(noisy, timesteps, text, cameras)
    predicted = predicted.float()
    kept = (~dropped).repeat_interleave(views)  # without a caption there are no words to add
    distance = (predicted - taught).square().mean(dim=(1, 2, 3)) * kept
    rendered = torch.nn.functional.mse_loss(predicted, velocity)
    return rendered + settings.teacher_lambda * distance.mean()


def _timesteps(
    settings: MultiViewTrainingSection,
    count: int,
    model: ToyboxMultiView,
    draw: torch.Generator,
) -> Int[Tensor, " objects"]:
    """Draw one timestep per object, each from its own share of the range."""
    unit = torch.rand(count, generator=draw, device=draw.device)
    unit = (torch.arange(count, device=draw.device) + unit) / count
    total: int = model.prior.scheduler.config["num_train_timesteps"]
    return (unit**settings.timestep_power * total).long()
