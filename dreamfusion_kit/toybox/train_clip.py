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
from dreamfusion_kit.toybox.training import descend

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
    descend(
        model,
        settings,
        scratch / "clip.safetensors",
        lambda step: _loss(model, settings, dataset, step),
        report=report,
        after_step=lambda step: _limit_scale(model),
    )
    return model


@torch.no_grad()
def _limit_scale(model: ToyboxClip) -> None:
    model.model.logit_scale.clamp_(max=_MAX_LOGIT_SCALE)


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
