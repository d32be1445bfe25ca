"""The mixture's epsilon against autograd of its log-density, and against one Gaussian."""

import math

import pytest
import torch

from dreamfusion_kit.priors.analytic import AnalyticPrior, cosine_schedule, mixture_epsilon
from dreamfusion_kit.recipe.schema import AnalyticSection as Section

MEANS = [[0.3, -0.2, 0.9], [-0.8, 0.1, 0.0], [0.5, 0.5, -0.5]]
STDS = [0.4, 0.05, 0.9]
WEIGHTS = [0.2, 0.5, 0.3]


def log_density(noisy: torch.Tensor, alpha: float, sigma: float) -> torch.Tensor:
    """Return log p_t of one image, by torch's own distributions."""
    parts = []
    for mean, std, weight in zip(MEANS, STDS, WEIGHTS, strict=True):
        center = alpha * torch.tensor(mean, dtype=torch.float64)[:, None, None]
        variance = alpha**2 * std**2 + sigma**2
        normal = torch.distributions.Normal(center.expand_as(noisy), math.sqrt(variance))
        parts.append(math.log(weight) + normal.log_prob(noisy).sum())
    return torch.logsumexp(torch.stack(parts), dim=0)


@pytest.mark.parametrize("alpha_bar", [0.999, 0.5, 1e-3])
def test_epsilon_is_the_score_of_the_density(alpha_bar: float) -> None:
    alpha, sigma = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
    generator = torch.Generator().manual_seed(0)
    noisy = torch.randn(5, 3, 2, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    total = sum(log_density(image, alpha, sigma) for image in noisy)
    (score,) = torch.autograd.grad(total, noisy)
    means = torch.tensor(MEANS, dtype=torch.float64)[:, :, None, None]
    level = torch.ones(5, dtype=torch.float64)
    found = mixture_epsilon(
        noisy.detach(),
        alpha * level,
        sigma * level,
        means,
        torch.tensor(STDS, dtype=torch.float64),
        torch.tensor(WEIGHTS, dtype=torch.float64),
    )
    torch.testing.assert_close(found, -sigma * score, rtol=1e-10, atol=1e-10)


def test_far_from_every_component_stays_finite() -> None:
    noisy = torch.full((1, 3, 64, 64), 50.0)
    level = torch.full((1,), math.sqrt(0.5))
    means = torch.tensor(MEANS)[:, :, None, None]
    found = mixture_epsilon(noisy, level, level, means, torch.tensor(STDS), torch.tensor(WEIGHTS))
    assert found.isfinite().all()


def test_schedule_is_the_cosine_and_never_degenerates() -> None:
    schedule = cosine_schedule(1000, "cpu")
    timestep = torch.arange(1000)
    alpha_t, sigma_t = schedule.alpha_t(timestep), schedule.sigma_t(timestep)
    torch.testing.assert_close(alpha_t**2 + sigma_t**2, torch.ones(1000))
    assert (alpha_t.diff() < 0).all()
    assert (sigma_t > 0).all()
    assert alpha_t[-1] > 0
    # The middle of interval 499 lies half an interval before the half of the time.
    assert float(alpha_t[499]) == pytest.approx(math.cos(math.pi / 2 * 0.4995), abs=1e-6)


def test_the_recipe_names_colours_in_0_1() -> None:
    section = Section.model_validate(
        {
            "kind": "analytic",
            "components": ({"weight": 2.0, "mean_color": (1.0, 0.5, 0.0), "std": 0.1},),
            "image_size_px": 4,
        }
    )
    prior = AnalyticPrior(section, "cpu")
    target = torch.tensor([1.0, 0.5, 0.0])[None, :, None, None].expand(1, 3, 4, 4)
    clean = prior.to_model_space(target)
    timestep = torch.tensor([500])
    noisy = prior.alpha_t(timestep) * clean
    text = prior.encode_text(["whatever"])
    torch.testing.assert_close(prior.predict(noisy, timestep, text), torch.zeros(1, 3, 4, 4))
    assert len(prior.encode_text(["a", "b", "c"])) == 3
