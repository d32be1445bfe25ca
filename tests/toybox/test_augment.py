"""Augmented images are images, drawn by address, and still show what they showed."""

import pytest
import torch

from dreamfusion_kit.toybox.augment import augment


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
