"""Train the toybox's CLIP contrastively on renders of other seeds than the prior's."""

import math
from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.seeding import generator as make_generator
from dreamfusion_kit.toybox.augment import augment
from dreamfusion_kit.toybox.clip_model import ToyboxClip
from dreamfusion_kit.toybox.dataset import Dataset
from dreamfusion_kit.toybox.settings import ClipTrainingSection
from dreamfusion_kit.toybox.shapes import OBJECTS
from dreamfusion_kit.toybox.training import (
    learning_rate,
    make_optimizer,
    resume_training,
    save_training,
)

_MAX_LOGIT_SCALE = math.log(100)  # Radford et al. 2021, s. 2.5


def train_clip(
    settings: ClipTrainingSection,
    dataset: Dataset,
    scratch: Path,
    *,
    device: torch.device,
    report: Callable[[int, float], None],
) -> ToyboxClip:
    """Train, or resume from `scratch`; `report` gets each step and its loss."""
    model = ToyboxClip(settings, dataset.rgba.shape[1]).to(device)
    optimizer = make_optimizer(model, settings)
    checkpoint = scratch / "clip.safetensors"
    start = resume_training(checkpoint, model, optimizer, None)
    for step in range(start, settings.num_steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(settings, step)
        loss = _loss(model, settings, dataset, step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.model.logit_scale.clamp_(max=_MAX_LOGIT_SCALE)
        report(step, float(loss.detach()))
        if (step + 1) % settings.checkpoint_every_steps == 0 or step + 1 == settings.num_steps:
            save_training(checkpoint, step + 1, model, optimizer, None)
    return model


def _loss(
    model: ToyboxClip, settings: ClipTrainingSection, dataset: Dataset, step: int
) -> Float[Tensor, ""]:
    """Symmetric InfoNCE in which every image of the same colour and object is a positive.

    A batch holds many images of one caption; the plain loss would push them apart.
    """
    draw = make_generator(settings.seed, "clip-batch", step)
    device = next(model.parameters()).device
    indices = torch.randint(len(dataset), (settings.batch_size,), generator=draw)
    images = dataset.images(indices, settings.background, generator=draw)
    images = augment(images, generator=draw).to(device)
    captions = dataset.captions(indices, generator=draw)
    kind = dataset.color_index[indices] * len(OBJECTS) + dataset.object_index[indices]
    same = (kind[:, None] == kind[None, :]).float().to(device)
    targets = same / same.sum(dim=1, keepdim=True)
    scale = model.model.logit_scale.exp()
    logits = scale * model.image_features(images) @ model.text_features(captions).T
    cross_entropy = torch.nn.functional.cross_entropy
    return (cross_entropy(logits, targets) + cross_entropy(logits.T, targets)) / 2
