"""MVDream's loss in closed form: SDS up to its weight, and what the rescale restores."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from dreamfusion_kit.guidance.sds import sds_residual, timestep_weight
from dreamfusion_kit.guidance.x0_reconstruction import x0_reconstruction_residual

DRAW = torch.Generator().manual_seed(0)
CLEAN = torch.randn(4, 3, 5, 5, generator=DRAW, dtype=torch.float64)
NOISE = torch.randn(4, 3, 5, 5, generator=DRAW, dtype=torch.float64)
LEVELS = [0.95, 0.6, 0.3, 0.02]


@pytest.fixture
def views(noisy_views: Callable[..., Any]) -> Any:
    return noisy_views(CLEAN, NOISE, [0, 1, 2, 3], conditional=0.4, unconditional=-0.1)


def test_without_rescale_it_is_sds_weighted_by_sigma_over_alpha(
    guidance: Callable[..., Any], gaussian: Any, views: Any
) -> None:
    prior = gaussian(LEVELS, 0.3, 0.6)
    found = x0_reconstruction_residual(
        guidance("x0_reconstruction", guidance_scale=50.0), prior, views
    )
    levels = prior.alpha_t(views.timestep), prior.sigma_t(views.timestep)
    weight = timestep_weight("sigma_over_alpha", *levels)
    residual = sds_residual(guidance(guidance_scale=50.0), prior, views)
    torch.testing.assert_close(found, weight[:, None, None, None] * residual)


def test_at_scale_1_it_is_the_distance_to_the_gaussian_s_mean(
    guidance: Callable[..., Any], gaussian: Any, views: Any
) -> None:
    """E[x | z] of N(m, s^2): m + alpha s^2 (z - alpha m) / (alpha^2 s^2 + sigma^2)."""
    mean, std = 0.3 + 0.4, 0.6
    section = guidance("x0_reconstruction", guidance_scale=1.0)
    found = x0_reconstruction_residual(section, gaussian(LEVELS, 0.3, std), views)
    for row, alpha_bar in enumerate(LEVELS):
        alpha, sigma = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
        noisy = alpha * CLEAN[row] + sigma * NOISE[row]
        share = alpha * std**2 / (alpha**2 * std**2 + sigma**2)
        expected = CLEAN[row] - (mean + share * (noisy - alpha * mean))
        torch.testing.assert_close(found[row], expected)


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_rescale_gives_the_estimate_the_deviation_that_no_guidance_has(
    guidance: Callable[..., Any], gaussian: Any, views: Any, share: float
) -> None:
    prior = gaussian(LEVELS, 0.3, 0.6)

    def estimate(**changes: Any) -> torch.Tensor:
        section = guidance("x0_reconstruction", **changes)
        return CLEAN - x0_reconstruction_residual(section, prior, views)

    plain, strong = estimate(guidance_scale=1.0), estimate(guidance_scale=50.0)
    found = estimate(guidance_scale=50.0, guidance_rescale=share)
    whole_image = (1, 2, 3)
    factor = plain.std(dim=whole_image) / strong.std(dim=whole_image)
    expected = (share * factor + 1 - share)[:, None, None, None] * strong
    torch.testing.assert_close(found, expected)
    if share == 1.0:
        torch.testing.assert_close(found.std(dim=whole_image), plain.std(dim=whole_image))


def test_views_of_one_object_share_their_factor(
    guidance: Callable[..., Any], gaussian: Any, views: Any
) -> None:
    """As in MVDream's code: one deviation over the views and channels of a group."""
    prior = gaussian(LEVELS, 0.3, 0.6)
    prior.num_views = 2

    def estimate(scale: float, share: float) -> torch.Tensor:
        section = guidance("x0_reconstruction", guidance_scale=scale, guidance_rescale=share)
        return CLEAN - x0_reconstruction_residual(section, prior, views)

    plain, strong, found = estimate(1.0, 0.0), estimate(50.0, 0.0), estimate(50.0, 1.0)
    for group in (slice(0, 2), slice(2, 4)):
        factor = plain[group].flatten().std() / strong[group].flatten().std()
        torch.testing.assert_close(found[group], factor * strong[group])


@pytest.mark.parametrize("weight", ["sigma_over_alpha", "flow"])
def test_weights_of_another_error_are_refused(guidance: Callable[..., Any], weight: str) -> None:
    with pytest.raises(ValidationError, match=r"expected uniform \(MVDream's\)"):
        guidance("x0_reconstruction", timestep_weight=weight)


def test_one_call_of_the_prior(guidance: Callable[..., Any], gaussian: Any, views: Any) -> None:
    prior = gaussian(LEVELS, 0.3, 0.6)
    x0_reconstruction_residual(guidance("x0_reconstruction", guidance_rescale=0.5), prior, views)
    assert prior.calls == [8]
