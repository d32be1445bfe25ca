"""Classifier Score Distillation (Yu et al. 2023, arXiv 2310.19415).

SDS's residual is (eps_c - eps) + omega (eps_c - eps_u): a generative part, and an
implicit classifier's gradient. At the scales in use the second dominates; CSD keeps only it:
    residual = omega_1 (eps_c - eps_u) + omega_2 (eps_u - eps_negative)
with eps_u of the empty text. The second term pushes away from the negative prompt, and
omega_2 falls during the run (annealed negative classifier scores).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.guidance.conditioning import PromptFeatures
from dreamfusion_kit.guidance.sds import NoisyViews
from dreamfusion_kit.priors.base import Prior
from dreamfusion_kit.recipe.schedule import value_at
from dreamfusion_kit.recipe.schema import UNCONDITIONAL, CsdSection


@torch.no_grad()
def csd_residual(
    section: CsdSection, prior: Prior, prompts: PromptFeatures, views: NoisyViews
) -> Float[Tensor, "batch channels height width"]:
    """Return the classifier's residual, per image; all texts in one call of the prior."""
    negative_weight = value_at(section.negative_weight, views.step)
    texts = views.conditioning.seen(prompts.select([UNCONDITIONAL] * len(views.clean)))
    texts = texts.cat(views.conditioning.conditional)
    if negative_weight > 0:
        texts = texts.cat(views.conditioning.unconditional)
    count = len(texts) // len(views.clean)
    noisy = views.noisy(prior)
    predicted = prior.predict(
        torch.cat([noisy] * count), torch.cat([views.timestep] * count), texts
    )
    epsilon_u, epsilon_c, *epsilon_negative = predicted.chunk(count)
    residual = section.guidance_scale * (epsilon_c - epsilon_u)
    for negative in epsilon_negative:
        residual = residual + negative_weight * (epsilon_u - negative)
    return residual
