"""SJC against SDS and against the score of a smoothed Gaussian (dreamfusion.md, 3.2)."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from dreamfusion_kit.guidance.sds import sds_residual
from dreamfusion_kit.guidance.sjc import sjc_residual


def images(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, 4, 4, generator=generator, dtype=torch.float64)


def test_with_variance_reduction_it_is_sds_with_weight_1(
    guidance: Callable[..., Any], noisy_views: Callable[..., Any], gaussian: Any
) -> None:
    prior = gaussian([0.9, 0.5, 0.1], 0.3, 0.4)
    noisy = noisy_views(images(0), images(1), [2, 0], conditional=0.7, unconditional=-0.2)
    found = sjc_residual(guidance("sjc", guidance_scale=7.5), prior, noisy)
    expected = sds_residual(guidance("sds", guidance_scale=7.5), prior, noisy)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_without_it_the_noise_stays_in(
    guidance: Callable[..., Any], noisy_views: Callable[..., Any], gaussian: Any
) -> None:
    prior = gaussian([0.5], 0.3, 0.4)
    noisy = noisy_views(images(0), images(1))
    plain = sjc_residual(guidance("sjc", variance_reduction=False), prior, noisy)
    reduced = sjc_residual(guidance("sjc", variance_reduction=True), prior, noisy)
    torch.testing.assert_close(plain - reduced, noisy.noise, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("variance_reduction", [True, False])
@pytest.mark.parametrize(("alpha2", "s", "x", "m"), [(0.5, 1.0, 2.3, 0.3), (0.1, 0.5, -1.0, 0.0)])
def test_the_mean_is_the_perturbed_and_averaged_score(
    guidance: Callable[..., Any],
    noisy_views: Callable[..., Any],
    gaussian: Any,
    variance_reduction: bool,
    alpha2: float,
    s: float,
    x: float,
    m: float,
) -> None:
    """PAAS of N(m, s^2) is -(x - m) / (s^2 + sigma^2), and the residual -sigma times it."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    noise = torch.tensor(nodes).reshape(1, 1, 1, -1).expand(1, 3, 1, -1)
    section = guidance("sjc", variance_reduction=variance_reduction, guidance_scale=1.0)
    found = sjc_residual(
        section, gaussian([alpha2], m, s), noisy_views(torch.full_like(noise, x), noise)
    )
    mean = float((found[0, 0, 0] * torch.tensor(weights)).sum()) / math.sqrt(2 * math.pi)
    sigma2 = (1 - alpha2) / alpha2
    assert mean == pytest.approx(math.sqrt(sigma2) * (x - m) / (s**2 + sigma2), abs=1e-9)
