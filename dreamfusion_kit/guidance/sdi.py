"""Score Distillation via Inversion (Lukoianov et al. 2024, arXiv 2405.15891).

SDS is DDIM on the one-step denoised image, but for its noise, which DDIM would have carried
along and SDS draws again at each step. The noise that the image itself has is found by
inverting DDIM from x up to x_t with the text, guided against it:
    ddim       x_b = alpha_b x0_hat(x_a) + sigma_b eps_hat(x_a; y, a)    (DDIM, eq. 12)
               + eta sqrt((sigma_a / sigma_b)^2 (1 - (alpha_b / alpha_a)^2)) n
    kappa      (x_t - alpha_t x) / sigma_t
    residual   eps_hat(x_t; y, t) - kappa
With w(t) = sigma_t / alpha_t the gradient is x - x0_hat(x_t), that of the authors' loss.

In their code the last stride ends up to a stride beyond t, at random, and the others lie on a
fixed grid; here strides are counted back from t itself.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion_kit.guidance.classifier_free import guided_epsilon
from dreamfusion_kit.guidance.ism import carry_up, ddim_step
from dreamfusion_kit.guidance.sds import NoisyViews, noise_levels
from dreamfusion_kit.priors.base import Prior
from dreamfusion_kit.recipe.schema import SdiSection


@torch.no_grad()
def sdi_residual(
    section: SdiSection, prior: Prior, views: NoisyViews
) -> Float[Tensor, "batch channels height width"]:
    """Return the guided noise less the image's own, per image; the drawn noise is not used."""
    backwards = section.model_copy(
        update={"guidance_scale": section.inversion_scale, "guidance_rescale": 0.0}
    )
    texts = views.conditioning

    def move(
        noisy: Float[Tensor, "batch channels height width"],
        at: Int[Tensor, " batch"],
        target: Int[Tensor, " batch"],
    ) -> Float[Tensor, "batch channels height width"]:
        if section.inversion_scale == 0:  # the texts would be multiplied by zero
            epsilon = prior.predict(noisy, at, texts.unconditional)
        else:
            epsilon = guided_epsilon(backwards, prior, noisy, at, texts)
        moved = ddim_step(prior, noisy, epsilon, at, target)
        return _stir(prior, moved, at, target, section.inversion_noise, views.generator)

    stride = max(1, round(section.inversion_stride * prior.num_train_timesteps))
    noisy = carry_up(views.clean, views.timestep, stride, move)
    levels = noise_levels(prior, views.timestep)
    kappa = (noisy - levels.alpha * views.clean) / levels.sigma
    return guided_epsilon(section, prior, noisy, views.timestep, texts) - kappa


def _stir(
    prior: Prior,
    noisy: Float[Tensor, "batch channels height width"],
    start: Int[Tensor, " batch"],
    end: Int[Tensor, " batch"],
    eta: float,
    generator: torch.Generator | None,
) -> Float[Tensor, "batch channels height width"]:
    """Add `eta` times the deviation that DDIM gives a step between the two (DDIM, eq. 16)."""
    if eta == 0:
        return noisy
    origin, target = noise_levels(prior, start), noise_levels(prior, end)
    lost = 1 - (target.alpha / origin.alpha).square()
    deviation = origin.sigma / target.sigma * lost.clamp(min=0).sqrt()
    noise = torch.randn(noisy.shape, generator=generator, device=noisy.device, dtype=noisy.dtype)
    return noisy + eta * deviation * noise
