"""Score Distillation Sampling (DreamFusion, eq. 3).

Notation:
    clean    the rendered image x in the prior's space
    noisy    z_t = alpha_t x + sigma_t epsilon
    residual w(t) (epsilon_hat(z_t; y, t) - epsilon), the U-Net's Jacobian left out
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion_kit.guidance.classifier_free import combine
from dreamfusion_kit.guidance.timesteps import sample_timesteps, timestep_weight
from dreamfusion_kit.priors.base import Prior
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe.schema import SdsGuidance
from dreamfusion_kit.records import GuidanceOutput


def sds_guidance(
    section: SdsGuidance,
    prior: Prior,
    images: Float[Tensor, "batch 3 h w"],
    conditional: TextFeatures,
    unconditional: TextFeatures,
    step: int,
    *,
    generator: torch.Generator,
) -> GuidanceOutput:
    """Return SDS's gradient on `images` in [0, 1], so that `images.backward(gradient)` is right.

    Args:
        section: The recipe's guidance.
        prior: The frozen model. It is never differentiated.
        images: Rendered views. Their own graph is not touched.
        conditional: One row per image: the text of its view.
        unconditional: One row per image: the negative prompt.
        step: Optimiser step, for the timestep schedules.
        generator: Draws the timesteps, then the noise.
    """
    leaf = images.detach().requires_grad_()
    with torch.enable_grad():
        clean = prior.to_model_space(leaf)
    timestep = sample_timesteps(
        section, step, len(images), prior.num_train_timesteps, generator=generator
    )
    noise = torch.randn(
        clean.shape, generator=generator, device=generator.device, dtype=clean.dtype
    )
    residual = sds_residual(section, prior, clean, conditional, unconditional, timestep, noise)
    (gradient,) = torch.autograd.grad(clean, leaf, residual / len(images))
    return GuidanceOutput(gradient=gradient, timesteps=timestep / prior.num_train_timesteps)


@torch.no_grad()
def sds_residual(
    section: SdsGuidance,
    prior: Prior,
    clean: Float[Tensor, "batch channels height width"],
    conditional: TextFeatures,
    unconditional: TextFeatures,
    timestep: Int[Tensor, " batch"],
    noise: Float[Tensor, "batch channels height width"],
) -> Float[Tensor, "batch channels height width"]:
    """Return `w(t) (epsilon_hat - epsilon)` in the prior's space, per image.

    alpha_t, the derivative of `noisy` by `clean`, is absorbed in w(t) as in the paper.
    Both branches of the guidance go through the prior as one batch.
    """
    alpha_t, sigma_t = prior.alpha_t(timestep), prior.sigma_t(timestep)
    noisy = alpha_t[:, None, None, None] * clean + sigma_t[:, None, None, None] * noise
    both = prior.predict(
        torch.cat([noisy, noisy]), torch.cat([timestep, timestep]), unconditional.cat(conditional)
    )
    epsilon_u, epsilon_c = both.chunk(2)
    epsilon_hat = combine(epsilon_u, epsilon_c, section.guidance_scale)
    weight = timestep_weight(section.timestep_weight, alpha_t, sigma_t)
    return weight[:, None, None, None] * (epsilon_hat - noise)
