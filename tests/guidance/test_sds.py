"""SDS against closed forms: dreamfusion.md, checks C4 and C5.

For data N(m, s^2) the exact noise prediction is `sigma (z - alpha m) / V`, with
`V = alpha^2 s^2 + sigma^2`. Each pixel of the Gaussian prior is such a distribution.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from dreamfusion_kit.guidance.sds import sds_residual
from dreamfusion_kit.guidance.timesteps import timestep_weight
from dreamfusion_kit.priors.base import Prior

# alpha^2, s, x, m, expected gradient with w = 1 and with w = sigma^2 (C4).
GAUSSIANS = [
    (0.5, 1.0, 2.3, 0.3, 1.0, 0.5),
    (0.9, 0.1, 1.0, 0.5, 1.3761467890, 0.1376146789),
    (0.1, 0.5, -1.0, 0.0, -0.3243243243, -0.2918918919),
]
Residual = Callable[..., torch.Tensor]


@pytest.fixture
def residual(guidance: Callable[..., Any], question: Callable[..., Any]) -> Residual:
    """Return a function that gives the residual of pixels of value x under noise values."""

    def of(
        prior: Prior, x: float, noise: torch.Tensor, weight: Any = "uniform", scale: float = 1.0
    ) -> torch.Tensor:
        padded = noise.reshape(1, 1, 1, -1).expand(1, 3, 1, -1)
        asked = question(torch.full_like(padded, x), padded)
        found = sds_residual(guidance(guidance_scale=scale), prior, asked)[0, 0, 0]
        levels = prior.alpha_t(asked.timestep), prior.sigma_t(asked.timestep)
        return timestep_weight(weight, *levels) * found

    return of


@pytest.mark.parametrize(("alpha2", "s", "x", "m", "uniform", "sigma_squared"), GAUSSIANS)
def test_mean_gradient_by_quadrature(
    residual: Residual,
    gaussian: Any,
    alpha2: float,
    s: float,
    x: float,
    m: float,
    uniform: float,
    sigma_squared: float,
) -> None:
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    noise, mass = torch.tensor(nodes), torch.tensor(weights / math.sqrt(2 * math.pi))
    prior = gaussian(alpha2, m, s)
    for name, expected in (("uniform", uniform), ("sigma_squared", sigma_squared)):
        found = float((residual(prior, x, noise, name) * mass).sum())
        assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("alpha2", "s", "x", "m"), [case[:4] for case in GAUSSIANS])
def test_mean_gradient_is_that_of_the_weighted_divergence(
    residual: Residual, gaussian: Any, alpha2: float, s: float, x: float, m: float
) -> None:
    """Eq. 4: SDS is the gradient of (sigma/alpha) w(t) KL(q(z_t | x) || p(z_t))."""
    sigma2 = 1 - alpha2
    variance = alpha2 * s**2 + sigma2

    def divergence(at: float) -> float:
        spread = sigma2 / variance + math.log(variance / sigma2) - 1
        return 0.5 * (spread + alpha2 * (at - m) ** 2 / variance)

    slope = (divergence(x + 1e-4) - divergence(x - 1e-4)) / 2e-4
    # The residual is linear in the noise, so its mean is its value at the mean noise.
    no_noise = torch.zeros(1, dtype=torch.float64)
    found = residual(gaussian(alpha2, m, s), x, no_noise, "sigma_over_alpha")
    expected = (sigma2 / alpha2) * slope  # once from eq. 4, once from this w(t)
    assert float(found) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(
    ("alpha2", "s", "with_noise", "without"),
    [
        (0.9, 0.1, 0.0825688, 0.9174312),
        (0.9, 0.5, 0.6923077, 0.3076923),
        (0.1, 0.5, 0.0270270, 0.9729730),
    ],
)
def test_subtracting_the_noise_helps_only_at_high_noise(
    residual: Residual, gaussian: Any, alpha2: float, s: float, with_noise: float, without: float
) -> None:
    """C5: std(eps_hat - eps) = alpha^2 s^2 / V against std(eps_hat) = sigma^2 / V."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1_000_000, generator=generator, dtype=torch.float64)
    found = residual(gaussian(alpha2, 0.3, s), 0.7, noise)
    assert float(found.std()) == pytest.approx(with_noise, rel=0.01)
    assert float((found + noise).std()) == pytest.approx(without, rel=0.01)


def test_a_single_image_as_data_leaves_no_variance(residual: Residual, gaussian: Any) -> None:
    """C5, s = 0: the residual is (alpha / sigma)(x - m) for every noise."""
    noise = torch.linspace(-3, 3, 50, dtype=torch.float64)
    found = residual(gaussian(0.7, 0.3, 0.0), 0.9, noise)
    expected = torch.full_like(found, math.sqrt(0.7 / 0.3) * 0.6)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
