"""Interval Score Matching (Liang et al. 2023, "LucidDreamer", arXiv 2311.11284).

SDS noises an image at random, and each noise pulls towards another image. Here the noise is the
image's own: DDIM inversion with the empty text carries x_0 up to x_s, one more stride to x_t.
    s          t - delta_T
    ddim       x_b = alpha_b x0_hat(x_a) + sigma_b eps(x_a, a, empty)         (DDIM, eq. 12)
    residual   eps_hat(x_t; t, y) - eps(x_s; s, empty)

The inversion ends at each image's own s, so its first stride may be shorter than delta_S;
an image whose s is lower than its neighbours' waits at time 0, unchanged.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion_kit.guidance.classifier_free import guided_epsilon
from dreamfusion_kit.guidance.sds import NoisyViews, noise_levels
from dreamfusion_kit.priors.base import Prior
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe.schedule import value_at
from dreamfusion_kit.recipe.schema import IsmSection


@torch.no_grad()
def ism_residual(
    section: IsmSection, prior: Prior, views: NoisyViews
) -> Float[Tensor, "batch channels height width"]:
    """Return the interval's score, per image; the drawn noise is not used."""
    empty = views.conditioning.unconditional
    interval = max(1, round(value_at(section.interval, views.step) * prior.num_train_timesteps))
    stride = max(1, round(section.inversion_stride * prior.num_train_timesteps))
    before = (views.timestep - interval).clamp(min=0)
    noisy_before = invert(prior, views.clean, before, empty, stride)
    epsilon_before = prior.predict(noisy_before, before, empty)
    noisy = ddim_step(prior, noisy_before, epsilon_before, before, views.timestep)
    guided = guided_epsilon(section, prior, noisy, views.timestep, views.conditioning)
    return guided - epsilon_before


@torch.no_grad()
def invert(
    prior: Prior,
    clean: Float[Tensor, "batch channels height width"],
    end: Int[Tensor, " batch"],
    text: TextFeatures,
    stride: int,
) -> Float[Tensor, "batch channels height width"]:
    """Carry each clean image up to its timestep `end` by DDIM, `stride` timesteps at a time.

    The clean image stands for the noisy one at timestep 0, where sigma_t is smallest.
    """

    def move(
        noisy: Float[Tensor, "batch channels height width"],
        at: Int[Tensor, " batch"],
        target: Int[Tensor, " batch"],
    ) -> Float[Tensor, "batch channels height width"]:
        return ddim_step(prior, noisy, prior.predict(noisy, at, text), at, target)

    return carry_up(clean, end, stride, move)


# From noisy images and their timestep to the noisy images at another timestep.
Move = Callable[[Tensor, Tensor, Tensor], Tensor]


def carry_up(
    clean: Float[Tensor, "batch channels height width"],
    end: Int[Tensor, " batch"],
    stride: int,
    move: Move,
) -> Float[Tensor, "batch channels height width"]:
    """Move each clean image to its timestep `end`, `stride` timesteps at a time from the end."""
    noisy, at = clean, torch.zeros_like(end)
    for remaining in reversed(range(math.ceil(int(end.max()) / stride))):
        target = (end - remaining * stride).clamp(min=0)
        noisy = move(noisy, at, target)
        at = target
    return noisy


def ddim_step(
    prior: Prior,
    noisy: Float[Tensor, "batch channels height width"],
    epsilon: Float[Tensor, "batch channels height width"],
    start: Int[Tensor, " batch"],
    end: Int[Tensor, " batch"],
) -> Float[Tensor, "batch channels height width"]:
    """Move along the deterministic path from one timestep to another (DDIM, eq. 12, eta 0)."""
    origin, target = noise_levels(prior, start), noise_levels(prior, end)
    clean = (noisy - origin.sigma * epsilon) / origin.alpha
    return target.add_noise(clean, epsilon)
