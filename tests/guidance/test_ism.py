"""ISM against DDIM on Gaussians, in closed form (dreamfusion.md, check C14)."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from dreamfusion_kit.guidance.ism import ddim_step, invert, ism_residual
from dreamfusion_kit.priors.text import TextFeatures

LEVELS = torch.linspace(0.9999, 0.02, 100, dtype=torch.float64).tolist()


def one(value: float) -> torch.Tensor:
    return torch.full((1, 3, 1, 1), value, dtype=torch.float64)


def no_text(batch: int) -> TextFeatures:
    return TextFeatures({"shift": torch.zeros(batch, 1, dtype=torch.float64)})


def test_the_interval_score_of_a_gaussian(gaussian: Any) -> None:
    """N(0.2, 1), x_s = 0.7, alpha_bar .81 to .25: the numbers of C14."""
    prior = gaussian([0.81, 0.25], 0.2, 1.0)
    s, t = torch.tensor([0]), torch.tensor([1])
    with torch.no_grad():
        before = prior.predict(one(0.7), s, no_text(1))
        noisy = ddim_step(prior, one(0.7), before, s, t)
        after = prior.predict(noisy, t, no_text(1))
    assert before.flatten()[0] == pytest.approx(0.2266627, abs=1e-7)
    assert noisy.flatten()[0] == pytest.approx(0.5302957, abs=1e-7)
    assert after.flatten()[0] == pytest.approx(0.3726470, abs=1e-7)


def test_on_a_single_image_as_data_the_interval_says_nothing(
    guidance: Callable[..., Any], noisy_views: Callable[..., Any], gaussian: Any
) -> None:
    """DDIM is exact on a Dirac: both predictions are the same noise. Only a text moves it."""
    prior = gaussian(LEVELS, 0.3, 0.0)
    clean = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(2, 3, 2, 2)
    noise = torch.zeros_like(clean)
    section = guidance("ism", guidance_scale=7.5)
    still = ism_residual(section, prior, noisy_views(clean, noise, [70, 20]))
    torch.testing.assert_close(still, torch.zeros_like(still), atol=1e-9, rtol=0)
    # eps_c - eps_u = -(alpha / sigma) * shift, times the scale.
    found = ism_residual(section, prior, noisy_views(clean, noise, [70, 20], conditional=0.1))
    alpha_bar = prior.schedule.alpha_bar[[70, 20]]
    expected = -7.5 * 0.1 * (alpha_bar / (1 - alpha_bar)).sqrt()[:, None, None, None]
    torch.testing.assert_close(found, expected.expand_as(found), atol=1e-9, rtol=0)


def test_inversion_in_small_strides_keeps_the_quantile(gaussian: Any) -> None:
    """The flow of N(m, s^2) maps x to alpha m + (x - m) sqrt(V) / s, its limit."""
    levels = torch.linspace(1 - 1e-6, 0.2, 400, dtype=torch.float64).tolist()
    prior = gaussian(levels, 0.2, 0.5)
    end = torch.tensor([300])
    with torch.no_grad():
        found = float(invert(prior, one(0.9), end, no_text(1), 1).flatten()[0])
    alpha, sigma = float(prior.alpha_t(end)), float(prior.sigma_t(end))
    width = math.sqrt(alpha**2 * 0.25 + sigma**2)
    assert found == pytest.approx(alpha * 0.2 + 0.7 * width / 0.5, abs=1e-2)


def test_an_image_does_not_depend_on_its_neighbours(
    guidance: Callable[..., Any], noisy_views: Callable[..., Any], gaussian: Any
) -> None:
    prior, section = gaussian(LEVELS, 0.3, 0.4), guidance("ism")
    clean = torch.linspace(-1, 1, 36, dtype=torch.float64).reshape(3, 3, 2, 2)
    noise, timesteps = torch.zeros_like(clean), [90, 3, 41]
    together = ism_residual(section, prior, noisy_views(clean, noise, timesteps, 0.2))
    for index, timestep in enumerate(timesteps):
        part = slice(index, index + 1)
        alone = ism_residual(section, prior, noisy_views(clean[part], noise[part], timestep, 0.2))
        torch.testing.assert_close(together[part], alone, rtol=1e-12, atol=1e-12)


def test_strides_are_counted_back_from_the_interval_s_start(
    guidance: Callable[..., Any], noisy_views: Callable[..., Any], gaussian: Any
) -> None:
    """For t = 70 and s = 65: inversion to 5, 25, 45, 65, then s, then t with and without text."""
    prior = gaussian(LEVELS, 0.3, 0.4)
    clean = torch.zeros(1, 3, 2, 2, dtype=torch.float64)
    ism_residual(guidance("ism"), prior, noisy_views(clean, clean, 70))
    assert prior.calls == [1, 1, 1, 1, 1, 2]
