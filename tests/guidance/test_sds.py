"""SDS against closed forms: dreamfusion.md, checks C4 and C5.

For data N(m, s^2) the exact noise prediction is `sigma (z - alpha m) / V`, with
`V = alpha^2 s^2 + sigma^2`. Each pixel of the analytic prior is such a Gaussian.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from dreamfusion_kit.guidance.sds import sds_guidance, sds_residual
from dreamfusion_kit.priors.analytic import mixture_epsilon
from dreamfusion_kit.priors.base import NoiseSchedule, Prior
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe.schema import SdsGuidance

# alpha^2, s, x, m, expected gradient with w = 1 and with w = sigma^2 (C4).
GAUSSIANS = [
    (0.5, 1.0, 2.3, 0.3, 1.0, 0.5),
    (0.9, 0.1, 1.0, 0.5, 1.3761467890, 0.1376146789),
    (0.1, 0.5, -1.0, 0.0, -0.3243243243, -0.2918918919),
]
TEXT = TextFeatures({"unread": torch.zeros(1, 1)})


class Gaussian(Prior):
    """Pixels N(mean, std^2) at a single noise level, in float64, in image space itself."""

    def __init__(self, alpha_bar: float, mean: float, std: float) -> None:
        self.schedule = NoiseSchedule(torch.tensor([alpha_bar], dtype=torch.float64))
        self.mean = torch.full((1, 1), mean, dtype=torch.float64)
        self.std = torch.tensor([std], dtype=torch.float64)
        self.calls: list[int] = []

    def encode_text(self, prompts: Sequence[str]) -> TextFeatures:
        return TextFeatures({"unread": torch.zeros(len(prompts), 1)})

    def to_model_space(self, images: torch.Tensor) -> torch.Tensor:
        return images

    def predict(
        self, noisy: torch.Tensor, timestep: torch.Tensor, text: TextFeatures
    ) -> torch.Tensor:
        self.calls.append(len(noisy))
        assert len(text) == len(noisy) == len(timestep)
        weight = torch.ones(1, dtype=torch.float64)
        pixels = noisy.reshape(-1, 1)  # each pixel is a Gaussian of its own
        count = len(pixels) // len(noisy)
        alpha_t = self.alpha_t(timestep).repeat_interleave(count)
        sigma_t = self.sigma_t(timestep).repeat_interleave(count)
        found = mixture_epsilon(pixels, alpha_t, sigma_t, self.mean, self.std, weight)
        return found.reshape(noisy.shape)


def residual(prior: Prior, section: SdsGuidance, x: float, noise: torch.Tensor) -> torch.Tensor:
    """Return the residual of pixels of value x under the given noise values."""
    padded = noise.reshape(1, 1, 1, -1).expand(1, 3, 1, -1)
    clean = torch.full_like(padded, x)
    timestep = torch.zeros(1, dtype=torch.int64)
    return sds_residual(section, prior, clean, TEXT, TEXT, timestep, padded)[0, 0, 0]


@pytest.mark.parametrize(("alpha2", "s", "x", "m", "uniform", "sigma_squared"), GAUSSIANS)
def test_mean_gradient_by_quadrature(
    guidance: Callable[..., SdsGuidance],
    alpha2: float,
    s: float,
    x: float,
    m: float,
    uniform: float,
    sigma_squared: float,
) -> None:
    nodes, weights = np.polynomial.hermite_e.hermegauss(20)
    noise, mass = torch.tensor(nodes), torch.tensor(weights / math.sqrt(2 * math.pi))
    prior = Gaussian(alpha2, m, s)
    for name, expected in (("uniform", uniform), ("sigma_squared", sigma_squared)):
        section = guidance(timestep_weight=name)
        found = float((residual(prior, section, x, noise) * mass).sum())
        assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("alpha2", "s", "x", "m"), [case[:4] for case in GAUSSIANS])
def test_mean_gradient_is_that_of_the_weighted_divergence(
    guidance: Callable[..., SdsGuidance], alpha2: float, s: float, x: float, m: float
) -> None:
    """Eq. 4: SDS is the gradient of (sigma/alpha) w(t) KL(q(z_t | x) || p(z_t))."""
    sigma2 = 1 - alpha2
    variance = alpha2 * s**2 + sigma2

    def divergence(at: float) -> float:
        spread = sigma2 / variance + math.log(variance / sigma2) - 1
        return 0.5 * (spread + alpha2 * (at - m) ** 2 / variance)

    slope = (divergence(x + 1e-4) - divergence(x - 1e-4)) / 2e-4
    section = guidance(timestep_weight="sigma_over_alpha")
    # The residual is linear in the noise, so its mean is its value at the mean noise.
    found = residual(Gaussian(alpha2, m, s), section, x, torch.zeros(1, dtype=torch.float64))
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
    guidance: Callable[..., SdsGuidance],
    alpha2: float,
    s: float,
    with_noise: float,
    without: float,
) -> None:
    """C5: std(eps_hat - eps) = alpha^2 s^2 / V against std(eps_hat) = sigma^2 / V."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1_000_000, generator=generator, dtype=torch.float64)
    found = residual(Gaussian(alpha2, 0.3, s), guidance(timestep_weight="uniform"), 0.7, noise)
    assert float(found.std()) == pytest.approx(with_noise, rel=0.01)
    assert float((found + noise).std()) == pytest.approx(without, rel=0.01)


def test_a_single_image_as_data_leaves_no_variance(
    guidance: Callable[..., SdsGuidance],
) -> None:
    """C5, s = 0: the residual is (alpha / sigma)(x - m) for every noise."""
    noise = torch.linspace(-3, 3, 50, dtype=torch.float64)
    found = residual(Gaussian(0.7, 0.3, 0.0), guidance(timestep_weight="uniform"), 0.9, noise)
    expected = torch.full_like(found, math.sqrt(0.7 / 0.3) * 0.6)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


class Recorder(Gaussian):
    """Answers with a parameter, so that any gradient through it would be seen."""

    def __init__(self) -> None:
        super().__init__(0.5, 0.0, 1.0)
        self.answer = torch.nn.Parameter(torch.tensor(0.25, dtype=torch.float64))

    def to_model_space(self, images: torch.Tensor) -> torch.Tensor:
        return 2 * images - 1

    def predict(
        self, noisy: torch.Tensor, timestep: torch.Tensor, text: TextFeatures
    ) -> torch.Tensor:
        self.calls.append(len(noisy))
        self.noisy_required_grad = noisy.requires_grad
        per_row = text.tensors["unread"].reshape(-1, 1, 1, 1)
        return (self.answer + per_row).expand_as(noisy)


def test_one_batched_call_and_no_gradient_through_the_prior(
    guidance: Callable[..., SdsGuidance],
) -> None:
    prior = Recorder()
    weights = torch.nn.Parameter(torch.rand(4, 3, 5, 5, dtype=torch.float64))
    text = TextFeatures({"unread": torch.zeros(4, 1, dtype=torch.float64)})
    output = sds_guidance(
        guidance(), prior, weights * 1.0, text, text, 0, generator=torch.Generator().manual_seed(0)
    )
    assert prior.calls == [8]
    assert not prior.noisy_required_grad
    assert not output.gradient.requires_grad
    assert prior.answer.grad is None
    assert weights.grad is None


def test_the_gradient_is_the_batch_mean_of_what_flows_through_the_images(
    guidance: Callable[..., SdsGuidance],
) -> None:
    """The text decides the residual here: eps_hat = 0.25 + 3 (1 - 0) at scale 3."""
    prior = Recorder()
    images = torch.rand(4, 3, 5, 5, dtype=torch.float64)
    conditional = TextFeatures({"unread": torch.ones(4, 1, dtype=torch.float64)})
    unconditional = TextFeatures({"unread": torch.zeros(4, 1, dtype=torch.float64)})
    section = guidance(guidance_scale=3.0, timestep_min=0.0, timestep_max=1.0)
    arguments = (section, prior, images, conditional, unconditional, 0)
    output = sds_guidance(*arguments, generator=torch.Generator().manual_seed(7))

    same = torch.Generator().manual_seed(7)
    torch.randint(0, 1, (4,), generator=same)  # the timesteps come first
    noise = torch.randn(4, 3, 5, 5, generator=same, dtype=torch.float64)
    expected = 2 * 0.5 * (3.25 - noise) / 4  # d(2x - 1)/dx, sigma^2, batch
    torch.testing.assert_close(output.gradient, expected)
    assert output.timesteps.tolist() == [0, 0, 0, 0]


def test_descending_the_gradient_finds_the_data(guidance: Callable[..., SdsGuidance]) -> None:
    prior = Gaussian(0.5, 0.8, 0.05)
    image = torch.full((2, 3, 4, 4), 0.1, dtype=torch.float64)
    text = TextFeatures({"unread": torch.zeros(2, 1)})
    section = guidance(guidance_scale=1.0, timestep_min=0.0, timestep_max=1.0)
    for step in range(200):
        generator = torch.Generator().manual_seed(step)
        output = sds_guidance(section, prior, image, text, text, step, generator=generator)
        image = image - 0.3 * output.gradient
    torch.testing.assert_close(image, torch.full_like(image, 0.8), atol=0.02, rtol=0)
