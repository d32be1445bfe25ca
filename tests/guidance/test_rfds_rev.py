"""RFDS-Rev against the flow's own formulas, in the flow's own notation."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from dreamfusion_kit.guidance.rfds_rev import rfds_rev_residual
from dreamfusion_kit.guidance.sds import sds_residual, timestep_weight
from dreamfusion_kit.priors.base import Prior
from dreamfusion_kit.priors.flow import flow_schedule
from dreamfusion_kit.priors.prediction import to_epsilon
from dreamfusion_kit.priors.text import TextFeatures

SLOPE = 0.3


def velocity(mixed: torch.Tensor, t: torch.Tensor, shift: torch.Tensor | float) -> torch.Tensor:
    """Return any smooth velocity; it need not be a trained one."""
    return torch.sin(2 * mixed) * t + SLOPE * mixed + shift


class Flow(Prior):
    def __init__(self) -> None:
        self.schedule = flow_schedule(1000, "cpu")

    def encode_text(self, prompts: Sequence[str]) -> TextFeatures:
        raise NotImplementedError

    def to_model_space(self, images: torch.Tensor) -> torch.Tensor:
        return images

    def predict(
        self, noisy: torch.Tensor, timestep: torch.Tensor, text: TextFeatures
    ) -> torch.Tensor:
        alpha_t, sigma_t = self.alpha_t(timestep), self.sigma_t(timestep)
        length = (alpha_t + sigma_t)[:, None, None, None]
        t = ((timestep + 0.5) / 1000)[:, None, None, None]
        shift = text.tensors["shift"].float()[:, :, None, None]
        output = velocity(noisy / length, t, shift)
        return to_epsilon(output, noisy, alpha_t, sigma_t, "flow")


@pytest.mark.parametrize("reverses", [False, True])
def test_it_is_the_flow_s_own_loss(
    guidance: Callable[..., Any], noisy_views: Callable[..., Any], reverses: bool
) -> None:
    """v_hat - (n - x) at (1 - t) x + t n, with n as drawn, or after a step of 1 - t of iRFDS."""
    draw = torch.Generator().manual_seed(0)
    clean, noise = (torch.randn(3, 3, 2, 2, generator=draw) for _ in range(2))
    timesteps = [40, 500, 960]
    prior = Flow()
    section = guidance("rfds_rev", guidance_scale=5.0, timestep_weight="flow")
    views = noisy_views(clean, noise, timesteps, conditional=0.4, unconditional=-0.1)
    levels = prior.alpha_t(views.timestep), prior.sigma_t(views.timestep)
    weight = timestep_weight("flow", *levels)[:, None, None, None]
    residual = rfds_rev_residual if reverses else sds_residual
    found = weight * residual(section, prior, views)

    t = ((torch.tensor(timesteps) + 0.5) / 1000)[:, None, None, None]
    if reverses:
        text = velocity((1 - t) * clean + t * noise, t, 0.4)
        noise = noise + (1 - t) * (text - (noise - clean))
    mixed = (1 - t) * clean + t * noise
    without = velocity(mixed, t, -0.1)
    guided = without + 5.0 * (velocity(mixed, t, 0.4) - without)
    torch.testing.assert_close(found, guided - (noise - clean), rtol=2e-4, atol=2e-4)


def test_on_a_diffusion_by_hand(
    guidance: Callable[..., Any], noisy_views: Callable[..., Any], gaussian: Any
) -> None:
    """N(0.2, 1) at alpha_bar 0.25, x = 0.7, n = -1: variance 1, so that eps = sigma (z - 0.1)."""
    one = torch.ones(1, 3, 1, 1, dtype=torch.float64)
    views = noisy_views(0.7 * one, -one, 0)
    section = guidance("rfds_rev", guidance_scale=1.0)
    found = float(rfds_rev_residual(section, gaussian(0.25, 0.2, 1.0), views).flatten()[0])
    sigma = math.sqrt(0.75)
    noise = sigma * (0.35 - sigma - 0.1)
    expected = sigma * (0.35 + sigma * noise - 0.1) - noise
    assert found == pytest.approx(expected, abs=1e-12)


def test_one_text_to_reverse_then_both_to_guide(
    guidance: Callable[..., Any], noisy_views: Callable[..., Any], gaussian: Any
) -> None:
    prior = gaussian(0.25, 0.2, 1.0)
    clean = torch.zeros(2, 3, 1, 1, dtype=torch.float64)
    rfds_rev_residual(guidance("rfds_rev"), prior, noisy_views(clean, clean, 0))
    assert prior.calls == [2, 4]
