"""Score Distillation Sampling (DreamFusion, eq. 3).

Notation:
    clean    the rendered image x in the prior's space
    noisy    z_t = alpha_t x + sigma_t epsilon
    residual epsilon_hat(z_t; y, t) - epsilon, the U-Net's Jacobian left out

alpha_t, the derivative of `noisy` by `clean`, is absorbed in w(t) as in the paper.
"""

from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.guidance.distillation import Question
from dreamfusion_kit.guidance.guided_noise import guided_epsilon, noise_levels
from dreamfusion_kit.priors.base import Prior
from dreamfusion_kit.recipe.schema import SdsSection


def sds_residual(
    section: SdsSection, prior: Prior, question: Question
) -> Float[Tensor, "batch channels height width"]:
    """Return `epsilon_hat - epsilon`, per image."""
    noisy = noise_levels(prior, question.timestep).add_noise(question.clean, question.noise)
    guided = guided_epsilon(section, prior, noisy, question.timestep, question.conditioning)
    return guided - question.noise
