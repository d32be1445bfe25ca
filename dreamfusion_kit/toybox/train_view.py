"""Train the toybox's view classifier on true renders."""

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion_kit.seeding import generator as make_generator
from dreamfusion_kit.toybox import view_model
from dreamfusion_kit.toybox.augment import augment
from dreamfusion_kit.toybox.captions import VIEWS, view_of
from dreamfusion_kit.toybox.dataset import Dataset
from dreamfusion_kit.toybox.settings import ViewTrainingSection
from dreamfusion_kit.toybox.shapes import OBJECTS
from dreamfusion_kit.toybox.training import descend
from dreamfusion_kit.toybox.view_model import ViewModel


def train_view(
    settings: ViewTrainingSection,
    dataset: Dataset,
    scratch: Path,
    *,
    device: torch.device,
    report: Callable[[int, float], None],
) -> ViewModel:
    """Train, or resume from `scratch`; `report` gets each step and its loss."""
    model = ViewModel(settings.channels, seed=settings.seed).to(device)
    renders = _distinct_renders(dataset)
    descend(
        model,
        settings,
        scratch / "view.safetensors",
        lambda step: _loss(model, settings, dataset, renders, step),
        report=report,
        max_gradient_norm=None,
    )
    return model.eval()


def _loss(
    model: ViewModel,
    settings: ViewTrainingSection,
    dataset: Dataset,
    renders: Int[Tensor, " images"],
    step: int,
) -> Float[Tensor, ""]:
    """Cross-entropy of the true view words of one batch."""
    draw = make_generator(settings.seed, "view-batch", step)
    device = next(model.parameters()).device
    indices = renders[torch.randint(len(renders), (settings.batch_size,), generator=draw)]
    images = dataset.images(indices, settings.background, generator=draw)
    images = augment(images, generator=draw)
    logits = model(images.to(device), _known_index(dataset, indices).to(device))
    return torch.nn.functional.cross_entropy(logits, _view_index(dataset, indices).to(device))


def _distinct_renders(dataset: Dataset) -> Int[Tensor, " images"]:
    """Return which renders show an object that the classifier knows."""
    known = torch.tensor([name in view_model.OBJECTS for name in OBJECTS])
    return torch.nonzero(known[dataset.object_index])[:, 0]


def _known_index(dataset: Dataset, indices: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
    """Return the objects in the classifier's own numbering."""
    names = [OBJECTS[index] for index in dataset.object_index[indices].tolist()]
    return torch.tensor([view_model.OBJECTS.index(name) for name in names])


def _view_index(dataset: Dataset, indices: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
    azimuths, elevations = dataset.azimuth_deg[indices], dataset.elevation_deg[indices]
    words = map(view_of, azimuths.tolist(), elevations.tolist())
    return torch.tensor([VIEWS.index(word) for word in words])
