"""The one guidance formula, in the one convention."""

import pytest
import torch

from dreamfusion_kit.guidance.classifier_free import combine, rescale


def full(value: float) -> torch.Tensor:
    return torch.full((1, 3, 2, 2), value, dtype=torch.float64)


@pytest.mark.parametrize(("scale", "expected"), [(0.0, 2.0), (1.0, 5.0), (7.5, 24.5)])
def test_the_scale_follows_diffusers(scale: float, expected: float) -> None:
    torch.testing.assert_close(combine(full(2.0), full(5.0), scale), full(expected))


def test_dreamfusions_omega_100_is_scale_101() -> None:
    unconditional, conditional, omega = full(0.3), full(-0.7), 100.0
    dreamfusion = (1 + omega) * conditional - omega * unconditional
    torch.testing.assert_close(combine(unconditional, conditional, 101.0), dreamfusion)


def test_rescale_restores_the_conditionals_deviation_image_by_image() -> None:
    """Lin et al. 2023, s. 3.4."""
    generator = torch.Generator().manual_seed(0)
    conditional = torch.randn(2, 3, 8, 8, generator=generator, dtype=torch.float64)
    guided = conditional * torch.tensor([3.0, 0.5])[:, None, None, None] + 0.2
    restored = rescale(guided, conditional, 1.0)
    image = (1, 2, 3)
    torch.testing.assert_close(restored.std(dim=image), conditional.std(dim=image))
    torch.testing.assert_close(rescale(guided, conditional, 0.0), guided)
    torch.testing.assert_close(rescale(guided, conditional, 0.7), 0.7 * restored + 0.3 * guided)
