"""SDS from end to end: closed forms, what is drawn, one batched call, and where it ends.

Closed forms are checks C4 and C5 of dreamfusion.md. For data N(m, s^2) the exact noise
prediction is `sigma (z - alpha m) / V`, with `V = alpha^2 s^2 + sigma^2`. Each pixel of the
Gaussian prior is such a distribution.
"""

import json
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from dreamfusion_kit.guidance.base import Guidance
from dreamfusion_kit.guidance.build import build_guidance
from dreamfusion_kit.guidance.conditioning import PromptFeatures
from dreamfusion_kit.guidance.sds import (
    ScoreDistillation,
    sample_timesteps,
    sds_residual,
    timestep_range,
    timestep_weight,
)
from dreamfusion_kit.priors.analytic import AnalyticPrior
from dreamfusion_kit.priors.base import Prior
from dreamfusion_kit.priors.noise_schedule import NoiseSchedule
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe.schema import AnalyticSection, LinearSchedule, SdsSection

# alpha^2, s, x, m, expected gradient with w = 1 and with w = sigma^2 (C4).
GAUSSIANS = [
    (0.5, 1.0, 2.3, 0.3, 1.0, 0.5),
    (0.9, 0.1, 1.0, 0.5, 1.3761467890, 0.1376146789),
    (0.1, 0.5, -1.0, 0.0, -0.3243243243, -0.2918918919),
]
Residual = Callable[..., torch.Tensor]


@pytest.fixture
def residual(guidance: Callable[..., Any], noisy_views: Callable[..., Any]) -> Residual:
    """Return a function that gives the residual of pixels of value x under noise values."""

    def of(
        prior: Prior, x: float, noise: torch.Tensor, weight: Any = "uniform", scale: float = 1.0
    ) -> torch.Tensor:
        padded = noise.reshape(1, 1, 1, -1).expand(1, 3, 1, -1)
        noisy = noisy_views(torch.full_like(padded, x), padded)
        found = sds_residual(guidance(guidance_scale=scale), prior, noisy)[0, 0, 0]
        levels = prior.alpha_t(noisy.timestep), prior.sigma_t(noisy.timestep)
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


# ---- what is drawn, and how it weighs


def test_dreamfusions_range_is_drawn_evenly_ends_included(
    guidance: Callable[..., SdsSection], gaussian: Any
) -> None:
    generator = torch.Generator().manual_seed(0)
    prior = gaussian([0.5] * 1000, 0.0, 1.0)
    drawn = sample_timesteps(guidance(), 0, 200_000, prior, generator=generator)
    assert drawn.min() == 20
    assert drawn.max() == 980
    counts = torch.bincount(drawn)[20:].double()
    expected = 200_000 / 961
    chi_squared = float(((counts - expected).square() / expected).sum())
    assert chi_squared == pytest.approx(960, abs=5 * (2 * 960) ** 0.5)


def test_views_that_are_denoised_together_have_one_timestep(
    guidance: Callable[..., SdsSection], gaussian: Any
) -> None:
    prior = gaussian([0.5] * 1000, 0.0, 1.0)
    alone = sample_timesteps(guidance(), 0, 3, prior, generator=torch.Generator().manual_seed(0))
    prior.num_views = 4
    drawn = sample_timesteps(guidance(), 0, 12, prior, generator=torch.Generator().manual_seed(0))
    assert drawn.tolist() == [int(timestep) for timestep in alone for _ in range(4)]
    assert len(set(drawn.tolist())) == 3


def test_the_whole_range_stays_on_the_schedule(guidance: Callable[..., SdsSection]) -> None:
    assert timestep_range(guidance(timestep_min=0.0, timestep_max=1.0), 0, 1000) == (0, 999)


def test_annealing_moves_the_upper_end(guidance: Callable[..., SdsSection]) -> None:
    falling = LinearSchedule(start=0.98, end=0.5, from_step=100, to_step=300)
    section = guidance(timestep_max=falling)
    ends = [timestep_range(section, step, 1000)[1] for step in (0, 100, 200, 300, 900)]
    assert ends == [980, 980, 740, 500, 500]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("sigma_squared", 0.36), ("uniform", 1.0), ("sigma_over_alpha", 0.75)],
)
def test_weights(name: str, expected: float) -> None:
    weight = timestep_weight(name, torch.tensor([0.8]), torch.tensor([0.6]))  # type: ignore[arg-type]
    torch.testing.assert_close(weight, torch.tensor([expected]))


# ---- the whole path


class Recorder(Prior):
    """Answers with a parameter, so that any gradient through it would be seen."""

    def __init__(self) -> None:
        self.schedule = NoiseSchedule(torch.tensor([0.5] * 4, dtype=torch.float64))
        self.answer = torch.nn.Parameter(torch.tensor(0.25, dtype=torch.float64))
        self.calls: list[int] = []

    def encode_text(self, prompts: Sequence[str]) -> TextFeatures:
        raise AssertionError("a guidance has its texts already")

    def to_model_space(self, images: torch.Tensor) -> torch.Tensor:
        return 2 * images - 1

    def predict(
        self, noisy: torch.Tensor, timestep: torch.Tensor, text: TextFeatures
    ) -> torch.Tensor:
        self.calls.append(len(noisy))
        assert not noisy.requires_grad
        return (self.answer + text.tensors["shift"].reshape(-1, 1, 1, 1)).expand_as(noisy)


CALLS = {"sds": [8], "sjc": [8], "csd": [8]}


@pytest.mark.parametrize("kind", ["sds", "sjc", "csd", "ism"])
def test_calls_are_batched_and_carry_no_gradient(
    guidance: Callable[..., Any],
    prompts: Callable[..., Any],
    views: Callable[..., Any],
    draw: Callable[[int], Any],
    kind: str,
) -> None:
    section, prior = guidance(kind), Recorder()
    built = build_guidance(section, prior, prompts(section), generator=torch.Generator())
    assert isinstance(built, Guidance)
    weights = torch.nn.Parameter(torch.rand(4, 3, 5, 5, dtype=torch.float64))
    output = built.guide(views(weights * 1.0), 0, draw(0))
    assert prior.calls[-1] == 8  # four images, with and without their text
    assert prior.calls == CALLS.get(kind, prior.calls)
    assert not output.gradient.requires_grad
    assert output.gradient.shape == (4, 3, 5, 5)
    assert prior.answer.grad is None
    assert weights.grad is None
    assert built.state_tensors() == {}
    with pytest.raises(ValueError, match="expected none"):
        built.load_state_tensors({"phi": torch.zeros(1)})


def test_the_gradient_is_the_mean_over_batch_and_pixels_of_what_flows_through_the_images(
    guidance: Callable[..., Any],
    prompts: Callable[..., Any],
    views: Callable[..., Any],
) -> None:
    """The text decides the residual here: eps_hat = 0.25 + 3 (1 - 0) at scale 3."""
    prior = Recorder()
    images = torch.rand(4, 3, 5, 5, dtype=torch.float64)
    section = guidance(guidance_scale=3.0, timestep_min=0.0, timestep_max=1.0)
    residual = partial(sds_residual, section, prior)
    built = ScoreDistillation(section, prior, prompts(section, front=1.0), residual)
    output = built.guide(views(images), 0, lambda _: torch.Generator().manual_seed(7))

    same = torch.Generator().manual_seed(7)
    timestep = torch.randint(0, 4, (4,), generator=same)  # the timesteps come first
    noise = torch.randn(4, 3, 5, 5, generator=same, dtype=torch.float64)
    expected = 2 * 0.5 * (3.25 - noise) / 4 / 25  # d(2x - 1)/dx, sigma^2, batch, pixels
    torch.testing.assert_close(output.gradient, expected)
    assert output.opacity_gradient is None
    torch.testing.assert_close(output.timesteps, timestep / 4)


@pytest.mark.parametrize("kind", ["sds", "sjc"])
def test_descending_the_gradient_finds_the_data(
    guidance: Callable[..., Any],
    gaussian: Any,
    prompts: Callable[..., Any],
    views: Callable[..., Any],
    draw: Callable[[int], Any],
    kind: str,
) -> None:
    levels = torch.linspace(0.99, 0.3, 20).tolist()
    prior = gaussian(levels, 0.8, 0.05)
    image = torch.full((2, 3, 4, 4), 0.1, dtype=torch.float64)
    section = guidance(
        kind, guidance_scale=1.0, timestep_min=0.1, timestep_max=1.0, timestep_weight="uniform"
    )
    built = build_guidance(section, prior, prompts(section), generator=torch.Generator())
    for step in range(200):
        image = image - 0.2 * 16 * built.guide(views(image), step, draw(step)).gradient
    torch.testing.assert_close(image, torch.full_like(image, 0.8), atol=0.04, rtol=0)


# ---- where it ends


MODES, STD = (0.2, 0.8), 0.1  # grey levels in [0, 1]; deviation in model space, [-1, 1]


@pytest.fixture(scope="module")
def bimodal() -> AnalyticPrior:
    """Return a prior of one grey pixel, dark or bright with equal probability."""
    components = [{"weight": 0.5, "mean_color": (mode,) * 3, "std": STD} for mode in MODES]
    section = {"kind": "analytic", "components": components, "image_size_px": 1}
    return AnalyticPrior(AnalyticSection.model_validate_json(json.dumps(section)), "cpu")


def mean_gradient(x: float, timesteps: range, weight: Callable[[float], float]) -> float:
    """Return SDS's mean gradient at grey level x, by quadrature over the noise.

    Along the grey axis (1, 1, 1) / sqrt(3) the prior is a mixture of two Gaussians at
    +-m, and eps_hat has the closed form `sigma (z - alpha m tanh(alpha m z / V)) / V`.
    """
    nodes, mass = np.polynomial.hermite_e.hermegauss(60)
    m, at = math.sqrt(3) * (2 * MODES[1] - 1), math.sqrt(3) * (2 * x - 1)
    total = 0.0
    for timestep in timesteps:
        u = math.pi / 2 * (timestep + 0.5) / 1000
        alpha, sigma = math.cos(u), math.sin(u)
        variance = (alpha * STD) ** 2 + sigma**2
        z = alpha * at + sigma * nodes
        epsilon = sigma * (z - alpha * m * np.tanh(alpha * m * z / variance)) / variance
        total += weight(sigma) * float((epsilon * mass).sum()) / math.sqrt(2 * math.pi)
    return total / len(timesteps)


def likelihood(x: float) -> float:
    """Return the prior's density at grey level x, up to a factor."""
    return sum(math.exp(-3 * (2 * (x - mode)) ** 2 / (2 * STD**2)) for mode in MODES)


@pytest.mark.parametrize(
    ("weight", "timestep_max", "rate", "end"),
    [("sigma_squared", 0.98, 0.2, 0.5), ("uniform", 0.2, 0.05, 0.8)],
)
def test_on_two_modes_it_ends_at_their_mean_unless_the_noise_is_low(
    bimodal: AnalyticPrior,
    guidance: Callable[..., Any],
    views: Callable[..., Any],
    draw: Callable[[int], Any],
    weight: str,
    timestep_max: float,
    rate: float,
    end: float,
) -> None:
    """DreamFusion's w and range of t, without CFG: from a mode to the least likely point."""
    keys = ["front", "left", "right", "back", "overhead", "negative"]
    section = guidance(
        guidance_scale=1.0, timestep_weight=weight, timestep_min=0.02, timestep_max=timestep_max
    )
    prompts = PromptFeatures(bimodal.encode_text(keys), keys)
    built = build_guidance(section, bimodal, prompts, generator=torch.Generator())
    pixel, path = torch.full((1, 3, 1, 1), 0.75), list[torch.Tensor]()
    for step in range(90):
        output = built.guide(views(pixel.repeat(64, 1, 1, 1)), step, draw(step))
        pixel = pixel - rate * output.gradient.sum(dim=0, keepdim=True)
        path.append(pixel.mean())
    assert float(torch.stack(path[-40:]).mean()) == pytest.approx(end, abs=0.03)

    def expected(x: float) -> float:
        timesteps = range(20, round(1000 * timestep_max) + 1)
        return mean_gradient(x, timesteps, lambda s: s**2 if weight == "sigma_squared" else 1.0)

    # The closed form changes its sign there, from a pull down to a pull up.
    assert expected(end - 0.03) < 0 < expected(end + 0.03)
    if end == 0.5:
        assert all(expected(x) > 0 for x in (0.55, 0.65, 0.75, 0.85))  # nowhere to stop before
        assert likelihood(0.5) < 1e-6 * likelihood(0.75)
