"""Resizing by matrices against PyTorch's own, in both directions, with its gradient."""

import pytest
import torch

from dreamfusion_kit.priors.resize import Mode, resized


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("side", [5, 23])
def test_pixels_and_gradient_are_those_of_interpolate(mode: Mode, side: int) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(2, 3, 12, 9, generator=generator, requires_grad=True)
    weights = torch.rand(2, 3, side, side, generator=generator)
    found = resized(images, side, mode)
    expected = torch.nn.functional.interpolate(images, (side, side), mode=mode, antialias=True)
    torch.testing.assert_close(found, expected)
    (gradient,) = torch.autograd.grad((found * weights).sum(), images)
    (expected_gradient,) = torch.autograd.grad((expected * weights).sum(), images)
    torch.testing.assert_close(gradient, expected_gradient)


def test_images_of_the_right_size_stay_the_same() -> None:
    images = torch.rand(1, 3, 8, 8)
    assert resized(images, 8, "bilinear") is images
