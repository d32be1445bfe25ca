"""MVDream's x0-reconstruction loss (Shi et al. 2023, arXiv 2308.16512, s. 3.2 and appendix).

    L           E [ |x - x0_hat|^2 ] / 2,   x0_hat held fixed
    x0_hat(e)   (z_t - sigma_t e) / alpha_t,   the clean image that a noise e stands for
    residual    x - x0_hat(eps_hat) = (sigma_t / alpha_t) (eps_hat - eps)

So without rescale this is SDS with w(t) = sigma_t / alpha_t. The images themselves are compared
because what a strong scale does to their contrast can be undone there (CFG rescale, Lin et al.
2023, arXiv 2305.08891, s. 3.4): x0_hat gets back a share of the deviation that the estimate
without guidance has, over all views that are denoised together.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.guidance.classifier_free import guided_and_conditional, rescale
from dreamfusion_kit.guidance.sds import NoisyViews, noise_levels
from dreamfusion_kit.priors.base import Prior
from dreamfusion_kit.recipe.schema import X0ReconstructionSection


@torch.no_grad()
def x0_reconstruction_residual(
    section: X0ReconstructionSection, prior: Prior, views: NoisyViews
) -> Float[Tensor, "batch channels height width"]:
    """Return the clean image less its guided estimate, per image."""
    noisy, levels = views.noisy(prior), noise_levels(prior, views.timestep)
    guided, conditional = guided_and_conditional(
        section, prior, noisy, views.timestep, views.conditioning
    )
    estimate = (noisy - levels.sigma * guided) / levels.alpha
    if section.guidance_rescale > 0:
        unguided = (noisy - levels.sigma * conditional) / levels.alpha
        estimate = rescale(estimate, unguided, section.guidance_rescale, prior.num_views)
    return views.clean - estimate
