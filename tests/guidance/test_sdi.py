"""SDI against its own formulas on Gaussians, by hand."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from dreamfusion_kit.guidance.sdi import sdi_residual

LEVELS = torch.linspace(0.9999, 0.02, 100, dtype=torch.float64).tolist()


def one(value: float) -> torch.Tensor:
    return torch.full((1, 3, 1, 1), value, dtype=torch.float64)


def test_a_single_image_as_data_pulls_straight_to_it(
    guidance: Callable[..., Any], noisy_views: Callable[..., Any], gaussian: Any
) -> None:
    """However the inversion is guided: sigma / alpha times the residual is x - (m + s d)."""
    prior = gaussian(LEVELS, 0.3, 0.0)
    clean = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(2, 3, 2, 2)
    section = guidance("sdi", guidance_scale=7.5, inversion_noise=0.0)
    views = noisy_views(clean, torch.zeros_like(clean), [70, 20], conditional=0.1)
    residual = sdi_residual(section, prior, views)
    alpha_bar = prior.schedule.alpha_bar[[70, 20]][:, None, None, None]
    found = ((1 - alpha_bar) / alpha_bar).sqrt() * residual
    torch.testing.assert_close(found, clean - (0.3 + 7.5 * 0.1), atol=1e-9, rtol=0)


@pytest.mark.parametrize("inversion_scale", [-7.5, 0.0, 1.0])
def test_one_stride_by_hand(
    guidance: Callable[..., Any],
    noisy_views: Callable[..., Any],
    gaussian: Any,
    inversion_scale: float,
) -> None:
    """N(0.2, 1) and a text that shifts it by 0.1; alpha_bar from 0.81 to 0.25, variance 1."""
    section = guidance(
        "sdi",
        guidance_scale=7.5,
        inversion_scale=inversion_scale,
        inversion_stride=1.0,
        inversion_noise=0.0,
    )
    views = noisy_views(one(0.7), one(9.0), 1, conditional=0.1)
    found = float(sdi_residual(section, gaussian([0.81, 0.25], 0.2, 1.0), views).flatten()[0])

    before = math.sqrt(0.19) * (0.7 - 0.9 * (0.2 + 0.1 * inversion_scale))
    clean = (0.7 - math.sqrt(0.19) * before) / 0.9
    noisy = 0.5 * clean + math.sqrt(0.75) * before
    guided = math.sqrt(0.75) * (noisy - 0.5 * (0.2 + 0.1 * 7.5))
    kappa = (noisy - 0.5 * 0.7) / math.sqrt(0.75)
    assert found == pytest.approx(guided - kappa, abs=1e-9)


def test_the_noise_of_a_stride_has_ddim_s_deviation_times_eta(
    guidance: Callable[..., Any], noisy_views: Callable[..., Any], gaussian: Any
) -> None:
    """On unit Gaussians eps = sigma (z - alpha m): noise n in x_t moves the residual linearly."""
    prior = gaussian([0.81, 0.25], 0.2, 1.0)
    clean = torch.full((1, 3, 200, 200), 0.7, dtype=torch.float64)
    views = noisy_views(clean, torch.zeros_like(clean), 1)

    def run(eta: float, seed: int) -> torch.Tensor:
        section = guidance("sdi", inversion_stride=1.0, inversion_noise=eta)
        generator = torch.Generator().manual_seed(seed)
        return sdi_residual(section, prior, replace(views, generator=generator))

    still, moved = run(0.0, 0), run(0.3, 0)
    assert torch.equal(run(0.3, 0), moved)
    assert not torch.equal(run(0.3, 1), moved)
    change = (moved - still).flatten()
    added = 0.3 * math.sqrt(0.19 / 0.75 * (1 - 0.25 / 0.81))  # in x_t
    slope = math.sqrt(0.75) - 1 / math.sqrt(0.75)  # of eps_hat less kappa
    assert float(change.std()) == pytest.approx(abs(slope) * added, rel=0.01)
    assert float(change.mean()) == pytest.approx(0.0, abs=0.02 * abs(slope) * added)


def test_strides_and_calls(
    guidance: Callable[..., Any], noisy_views: Callable[..., Any], gaussian: Any
) -> None:
    """For t = 70 in strides of 20: to 10, 30, 50, 70, then t; each with and without text."""
    prior = gaussian(LEVELS, 0.3, 0.4)
    clean = torch.zeros(1, 3, 2, 2, dtype=torch.float64)
    section = guidance("sdi", inversion_stride=0.2, inversion_noise=0.0)
    sdi_residual(section, prior, noisy_views(clean, clean, 70))
    assert prior.calls == [2, 2, 2, 2, 2]


def test_an_inversion_without_the_text_asks_for_the_empty_one_alone(
    guidance: Callable[..., Any], noisy_views: Callable[..., Any], gaussian: Any
) -> None:
    prior = gaussian(LEVELS, 0.3, 0.4)
    clean = torch.zeros(1, 3, 2, 2, dtype=torch.float64)
    section = guidance("sdi", inversion_scale=0.0, inversion_stride=0.2, inversion_noise=0.0)
    sdi_residual(section, prior, noisy_views(clean, clean, 70))
    assert prior.calls == [1, 1, 1, 1, 2]


def test_an_image_does_not_depend_on_its_neighbours(
    guidance: Callable[..., Any], noisy_views: Callable[..., Any], gaussian: Any
) -> None:
    prior, section = gaussian(LEVELS, 0.3, 0.4), guidance("sdi", inversion_noise=0.0)
    clean = torch.linspace(-1, 1, 36, dtype=torch.float64).reshape(3, 3, 2, 2)
    noise, timesteps = torch.zeros_like(clean), [90, 3, 41]
    together = sdi_residual(section, prior, noisy_views(clean, noise, timesteps, 0.2))
    for index, timestep in enumerate(timesteps):
        part = slice(index, index + 1)
        alone = sdi_residual(section, prior, noisy_views(clean[part], noise[part], timestep, 0.2))
        torch.testing.assert_close(together[part], alone, rtol=1e-9, atol=1e-9)
