"""CSD as what is left of SDS at a large scale, and its annealed negative part."""

from collections.abc import Callable
from typing import Any

import torch

from dreamfusion_kit.guidance.csd import csd_residual
from dreamfusion_kit.guidance.sds import sds_residual

CLEAN = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(2, 3, 2, 2)
NOISE = torch.linspace(2, -1, 24, dtype=torch.float64).reshape(2, 3, 2, 2)


def test_sds_over_omega_tends_to_csd(
    guidance: Callable[..., Any],
    noisy_views: Callable[..., Any],
    prompts: Callable[..., Any],
    gaussian: Any,
) -> None:
    """SDS = (eps_c - eps) + omega CSD, so the distance falls as 1 / omega, exactly."""
    prior = gaussian([0.5], 0.3, 0.4)
    section = guidance("csd", guidance_scale=1.0)
    noisy = noisy_views(CLEAN, NOISE, conditional=0.7)
    csd = csd_residual(section, prior, prompts(section), noisy)
    generative = sds_residual(guidance("sds", guidance_scale=1.0), prior, noisy)
    assert generative.norm() > 0.1
    for omega in (10.0, 1e3, 1e5):
        sds = sds_residual(guidance("sds", guidance_scale=1 + omega), prior, noisy)
        torch.testing.assert_close(sds / omega - csd, generative / omega, atol=1e-10, rtol=1e-6)


def test_a_gaussian_classifier_pulls_evenly(
    guidance: Callable[..., Any],
    noisy_views: Callable[..., Any],
    prompts: Callable[..., Any],
    gaussian: Any,
) -> None:
    """eps_c - eps_u of two Gaussians of one width: -sigma alpha (m_c - m_u) / V everywhere."""
    section = guidance("csd", guidance_scale=3.0)
    found = csd_residual(
        section,
        gaussian([0.5], 0.3, 0.4),
        prompts(section),
        noisy_views(CLEAN, NOISE, conditional=0.7),
    )
    expected = -3 * 0.5 * 0.7 / (0.5 * 0.4**2 + 0.5)
    torch.testing.assert_close(found, torch.full_like(found, expected))


def test_the_negative_part_falls_with_the_steps_and_is_then_not_asked_for(
    guidance: Callable[..., Any],
    noisy_views: Callable[..., Any],
    prompts: Callable[..., Any],
    gaussian: Any,
) -> None:
    falling = {"start": 2.0, "end": 0.0, "from_step": 0, "to_step": 10}
    section = guidance("csd", guidance_scale=1.0, negative_weight=falling, negative_prompt="fog")
    prior = gaussian([0.5], 0.3, 0.4)
    pull = 0.5 / (0.5 * 0.4**2 + 0.5)  # of a shift by 1
    for step, weight in ((0, 2.0), (5, 1.0), (10, 0.0)):
        # The negative's shift is the one of Conditioning's unconditional row.
        noisy = noisy_views(CLEAN, NOISE, conditional=0.7, unconditional=-0.4, step=step)
        found = csd_residual(section, prior, prompts(section), noisy)
        # Away from the negative: eps_u - eps_n is `pull` times (-0.4 - 0).
        expected = -pull * 0.7 + weight * pull * -0.4
        torch.testing.assert_close(found, torch.full_like(found, expected))
    assert prior.calls == [6, 6, 4]
