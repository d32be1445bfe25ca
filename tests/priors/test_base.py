"""The mapping from pictures to a pixel model's space."""

import torch

from dreamfusion_kit.priors.base import to_pixel_space


def test_the_gradient_through_a_resize_adds_up() -> None:
    images = torch.rand(2, 3, 12, 12, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(to_pixel_space(images, 8).sum(), images)
    # Resizing averages: 8x8 pixels' worth of gradient, doubled by the map to [-1, 1].
    torch.testing.assert_close(gradient.sum(), torch.tensor(2.0 * 2 * 3 * 64).double())


def test_the_own_size_is_left_alone() -> None:
    images = torch.rand(1, 3, 8, 8)
    assert torch.equal(to_pixel_space(images, 8), images * 2 - 1)
