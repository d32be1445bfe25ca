"""The judge's training: a kill changes no byte; its augmentation."""

from pathlib import Path

import pytest
import torch

from dreamfusion_kit.toybox.dataset import Dataset
from dreamfusion_kit.toybox.settings import ClipSettings
from dreamfusion_kit.toybox.train_clip import augment, train_clip


class KilledError(Exception):
    """Stands for a kill between two steps."""


def train(
    settings: ClipSettings, dataset: Dataset, scratch: Path, *, kill_at: int | None = None
) -> list[torch.Tensor]:
    def report(step: int, loss: float) -> None:
        assert loss > 0
        if step == kill_at:
            raise KilledError

    device = torch.device("cpu")
    model = train_clip(settings, dataset, scratch, device=device, report=report)
    return [parameter.detach() for parameter in model.parameters()]


def test_a_killed_training_ends_with_the_same_bytes(
    clip_settings: ClipSettings, dataset: Dataset, tmp_path: Path
) -> None:
    whole = train(clip_settings, dataset, tmp_path / "whole")
    with pytest.raises(KilledError):
        train(clip_settings, dataset, tmp_path / "killed", kill_at=2)
    assert all(map(torch.equal, train(clip_settings, dataset, tmp_path / "killed"), whole))


@pytest.fixture
def images() -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.rand(8, 16, 16, 3, generator=draw)


def test_augmented_images_are_images(images: torch.Tensor) -> None:
    extremes = torch.cat([images, torch.zeros_like(images), torch.ones_like(images)])
    found = augment(extremes, generator=torch.Generator().manual_seed(1))
    assert found.shape == extremes.shape
    assert found.min() >= 0
    assert found.max() <= 1


def test_augmentation_is_addressed(images: torch.Tensor) -> None:
    first = augment(images, generator=torch.Generator().manual_seed(1))
    again = augment(images, generator=torch.Generator().manual_seed(1))
    other = augment(images, generator=torch.Generator().manual_seed(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_augmentation_keeps_what_is_seen(images: torch.Tensor) -> None:
    """A red image stays red: shift, blur, exposure and roughness mix no colours."""
    red = torch.tensor([0.8, 0.1, 0.1]).expand_as(images)
    found = augment(red, generator=torch.Generator().manual_seed(1)).mean(dim=(1, 2))
    assert bool((found[:, 0] > 2 * found[:, 1]).all())
    assert bool((found[:, 0] > 2 * found[:, 2]).all())
