"""The noise that a prior sees in noisy images under guidance by text."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion_kit.guidance.classifier_free import combine, rescale
from dreamfusion_kit.guidance.conditioning import Conditioning
from dreamfusion_kit.guidance.perp_neg import combine_perpendicular
from dreamfusion_kit.priors.base import Prior
from dreamfusion_kit.recipe.schema import ScoreGuidanceSection


@dataclass(frozen=True)
class NoiseLevels:
    """alpha_t and sigma_t of each image, shaped to multiply images."""

    alpha: Float[Tensor, "batch 1 1 1"]
    sigma: Float[Tensor, "batch 1 1 1"]

    def add_noise(
        self,
        clean: Float[Tensor, "batch channels height width"],
        noise: Float[Tensor, "batch channels height width"],
    ) -> Float[Tensor, "batch channels height width"]:
        """Return `alpha_t clean + sigma_t noise`."""
        return self.alpha * clean + self.sigma * noise


def noise_levels(prior: Prior, timestep: Int[Tensor, " batch"]) -> NoiseLevels:
    """Return the prior's signal and noise levels at each image's timestep."""
    return NoiseLevels(
        prior.alpha_t(timestep)[:, None, None, None], prior.sigma_t(timestep)[:, None, None, None]
    )


@torch.no_grad()
def guided_epsilon(
    section: ScoreGuidanceSection,
    prior: Prior,
    noisy: Float[Tensor, "batch channels height width"],
    timestep: Int[Tensor, " batch"],
    conditioning: Conditioning,
) -> Float[Tensor, "batch channels height width"]:
    """Return epsilon_hat: classifier-free guidance or Perp-Neg, then CFG rescale.

    All texts of all images go through the prior as one batch.
    """
    texts = conditioning.unconditional.cat(conditioning.conditional)
    for repelling in conditioning.repelling:
        texts = texts.cat(repelling)
    count = 2 + len(conditioning.repelling)
    predicted = prior.predict(torch.cat([noisy] * count), torch.cat([timestep] * count), texts)
    epsilon_u, epsilon_c, *epsilon_away = predicted.chunk(count)
    weights = conditioning.repelling_weights
    if weights is None:
        guided = combine(epsilon_u, epsilon_c, section.guidance_scale)
    else:
        scale = section.guidance_scale
        guided = combine_perpendicular(epsilon_u, epsilon_c, epsilon_away, weights, scale)
    if section.guidance_rescale > 0:
        guided = rescale(guided, epsilon_c, section.guidance_rescale)
    return guided
