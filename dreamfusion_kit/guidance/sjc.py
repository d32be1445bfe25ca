"""Score Jacobian Chaining (Wang et al. 2022, arXiv 2212.00774).

The paper's denoisers work on images with plain noise added (variance exploding); a prior
of this kit scales the image down too. One image serves both:
    sigma      sigma_t / alpha_t, the noise level in the paper's sense
    noisy      x + sigma n, which is z_t / alpha_t
    denoised   D(noisy, sigma) = noisy - sigma epsilon_hat(z_t; t)

Perturb-and-average scoring (PAAS) estimates the score at the rendered image,
which the denoiser never saw without noise, by E_n[(D(x + sigma n) - (x + sigma n)) /
sigma^2]. The authors' code descends along -sigma times it, and its README numbers both forms:
    plain (eq. 15)               (noisy - denoised) / sigma   =  epsilon_hat
    variance reduction (eq. 16)  (clean - denoised) / sigma   =  epsilon_hat - n
Both have the same mean. The second is SDS's residual with w(t) = 1.
"""

from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.guidance.classifier_free import guided_epsilon
from dreamfusion_kit.guidance.sds import NoisyViews, noise_levels
from dreamfusion_kit.priors.base import Prior
from dreamfusion_kit.recipe.schema import SjcSection


def sjc_residual(
    section: SjcSection, prior: Prior, views: NoisyViews
) -> Float[Tensor, "batch channels height width"]:
    """Return the negative of the scaled score estimate, per image."""
    levels = noise_levels(prior, views.timestep)
    sigma = levels.sigma / levels.alpha
    noisy = views.clean + sigma * views.noise
    scaled = levels.alpha * noisy
    guided = guided_epsilon(section, prior, scaled, views.timestep, views.conditioning)
    denoised = noisy - sigma * guided
    reference = views.clean if section.variance_reduction else noisy
    return (reference - denoised) / sigma
