"""Conversions against their definitions: from a known image and noise, back to the noise."""

import math

import pytest
import torch

from dreamfusion_kit.errors import NumericsError
from dreamfusion_kit.priors.prediction import to_epsilon


def known(alpha_bar: list[float]) -> tuple[torch.Tensor, ...]:
    """Return clean images, noise, noisy images and levels in float64."""
    generator = torch.Generator().manual_seed(0)
    shape = (len(alpha_bar), 3, 4, 4)
    clean = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    alpha_t = torch.tensor(alpha_bar, dtype=torch.float64).sqrt()
    sigma_t = (1 - torch.tensor(alpha_bar, dtype=torch.float64)).sqrt()
    noisy = torch.stack(
        [a * x + s * e for a, x, s, e in zip(alpha_t, clean, sigma_t, noise, strict=True)]
    )
    return clean, noise, noisy, alpha_t, sigma_t


def velocity(
    clean: torch.Tensor, noise: torch.Tensor, alpha_t: torch.Tensor, sigma_t: torch.Tensor
) -> torch.Tensor:
    return torch.stack(
        [a * e - s * x for a, x, s, e in zip(alpha_t, clean, sigma_t, noise, strict=True)]
    )


def test_epsilon_and_v_are_exact_from_end_to_end() -> None:
    clean, noise, noisy, alpha_t, sigma_t = known([0.0, 1e-9, 0.3, 1 - 1e-9, 1.0])
    found = to_epsilon(noise, noisy, alpha_t, sigma_t, "epsilon")
    torch.testing.assert_close(found, noise, rtol=0, atol=0)
    output = velocity(clean, noise, alpha_t, sigma_t)
    found = to_epsilon(output, noisy, alpha_t, sigma_t, "v_prediction")
    torch.testing.assert_close(found, noise, rtol=1e-12, atol=1e-12)


def test_sample_is_exact_where_there_is_noise() -> None:
    clean, noise, noisy, alpha_t, sigma_t = known([0.0, 1e-9, 0.3, 0.9999])
    found = to_epsilon(clean, noisy, alpha_t, sigma_t, "sample")
    torch.testing.assert_close(found, noise, rtol=1e-10, atol=1e-10)


def test_sample_without_noise_is_refused() -> None:
    clean, _, noisy, alpha_t, sigma_t = known([0.5, 1.0])
    with pytest.raises(NumericsError, match=r"sigma_t = 0; .*raise guidance.timestep_min"):
        to_epsilon(clean, noisy, alpha_t, sigma_t, "sample")


@pytest.mark.parametrize("t", [0.0, 0.02, 0.5, 0.98, 1.0])
def test_the_exact_velocity_of_gaussian_data_gives_the_exact_epsilon(t: float) -> None:
    """For x ~ N(m, s^2), both E[v | x_t] and E[epsilon | x_t] are linear regressions.

    With V = (1 - t)^2 s^2 + t^2 the variance of x_t and d = x_t - (1 - t) m,
    E[epsilon | x_t] = t d / V and E[x | x_t] = m + (1 - t) s^2 d / V.
    """
    mean, std = 0.3, 0.7
    x_t = torch.linspace(-2, 2, 12, dtype=torch.float64).reshape(1, 3, 2, 2)
    variance = (1 - t) ** 2 * std**2 + t**2
    offset = x_t - (1 - t) * mean
    epsilon = t * offset / variance
    velocity = epsilon - (mean + (1 - t) * std**2 * offset / variance)
    length = math.hypot(1 - t, t)
    alpha_t, sigma_t = (torch.tensor([v / length]).double() for v in (1 - t, t))
    found = to_epsilon(velocity, x_t / length, alpha_t, sigma_t, "flow")
    torch.testing.assert_close(found, epsilon, rtol=1e-6, atol=1e-6)
