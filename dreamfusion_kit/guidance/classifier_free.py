"""Classifier-free guidance: the one place, the one convention."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion_kit.guidance.conditioning import Conditioning
from dreamfusion_kit.guidance.perp_neg import combine_perpendicular
from dreamfusion_kit.priors.base import Prior
from dreamfusion_kit.recipe.schema import ScoreGuidanceSection


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
    for negative in conditioning.negatives:
        texts = texts.cat(negative)
    count = 2 + len(conditioning.negatives)
    predicted = prior.predict(torch.cat([noisy] * count), torch.cat([timestep] * count), texts)
    epsilon_u, epsilon_c, *epsilon_negatives = predicted.chunk(count)
    weights = conditioning.negative_weights
    if weights is None:
        guided = combine(epsilon_u, epsilon_c, section.guidance_scale)
    else:
        scale = section.guidance_scale
        guided = combine_perpendicular(epsilon_u, epsilon_c, epsilon_negatives, weights, scale)
    if section.guidance_rescale > 0:
        guided = rescale(guided, epsilon_c, section.guidance_rescale)
    return guided


def combine(
    unconditional: Float[Tensor, "batch channels height width"],
    conditional: Float[Tensor, "batch channels height width"],
    guidance_scale: float,
) -> Float[Tensor, "batch channels height width"]:
    """Return `eps_u + s (eps_c - eps_u)`: s = 0 ignores the text, s = 1 is the plain model.

    DreamFusion writes `(1 + omega) eps_c - omega eps_u`, which is s = omega + 1: its
    omega = 100 is `guidance_scale` = 101.
    """
    return unconditional + guidance_scale * (conditional - unconditional)


def rescale(
    guided: Float[Tensor, "batch channels height width"],
    conditional: Float[Tensor, "batch channels height width"],
    share: float,
) -> Float[Tensor, "batch channels height width"]:
    """Set `guided` back to the deviation that `conditional` has, image by image.

    Lin et al. 2023 (arXiv 2305.08891), s. 3.4: a strong scale widens the
    prediction, which over-exposes. `share` is their phi: 0 changes nothing, 1 restores
    the deviation fully.
    """
    whole_image = (1, 2, 3)
    restored = guided * (
        conditional.std(dim=whole_image, keepdim=True) / guided.std(dim=whole_image, keepdim=True)
    )
    return share * restored + (1 - share) * guided
