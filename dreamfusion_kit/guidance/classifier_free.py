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
    """Return epsilon_hat: classifier-free guidance or Perp-Neg, then CFG rescale."""
    guided, epsilon_c = guided_and_conditional(section, prior, noisy, timestep, conditioning)
    if section.guidance_rescale > 0:
        guided = rescale(guided, epsilon_c, section.guidance_rescale, prior.num_views)
    return guided


@torch.no_grad()
def guided_and_conditional(
    section: ScoreGuidanceSection,
    prior: Prior,
    noisy: Float[Tensor, "batch channels height width"],
    timestep: Int[Tensor, " batch"],
    conditioning: Conditioning,
) -> tuple[
    Float[Tensor, "batch channels height width"], Float[Tensor, "batch channels height width"]
]:
    """Return the guided epsilon before any rescale, and eps_c.

    All texts of all images go through the prior as one batch.
    """
    texts = conditioning.unconditional.cat(conditioning.conditional)
    for negative in conditioning.negatives:
        texts = texts.cat(negative)
    count = 2 + len(conditioning.negatives)
    predicted = prior.predict(torch.cat([noisy] * count), torch.cat([timestep] * count), texts)
    epsilon_u, epsilon_c, *epsilon_negatives = predicted.chunk(count)
    weights = conditioning.negative_weights
    scale = section.guidance_scale
    if weights is None:
        return combine(epsilon_u, epsilon_c, scale), epsilon_c
    guided = combine_perpendicular(epsilon_u, epsilon_c, epsilon_negatives, weights, scale)
    return guided, epsilon_c


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
    num_views: int = 1,
) -> Float[Tensor, "batch channels height width"]:
    """Set `guided` back to the deviation that `conditional` has, image by image.

    Lin et al. 2023 (arXiv 2305.08891), s. 3.4: a strong scale widens the
    prediction, which over-exposes. `share` is their phi: 0 changes nothing, 1 restores
    the deviation fully. `num_views` images that were denoised together count as one, as in
    MVDream's code: one view may be darker than the others.
    """
    restored = guided * (_deviation(conditional, num_views) / _deviation(guided, num_views))
    return share * restored + (1 - share) * guided


def _deviation(
    images: Float[Tensor, "batch channels height width"], num_views: int
) -> Float[Tensor, "batch 1 1 1"]:
    if num_views == 1:
        return images.std(dim=(1, 2, 3), keepdim=True)
    together = images.reshape(-1, num_views * images[0].numel()).std(dim=1)
    return together.repeat_interleave(num_views)[:, None, None, None]
