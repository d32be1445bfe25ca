"""RFDS-Rev (Yang et al. 2024, arXiv 2406.03293): distillation of a rectified flow, with reversal.

A flow's velocity v is asked for at x_t = (1 - t) x + t n (`prior.prediction` derives how this is
z = alpha x + sigma n). Its error is a multiple of the noise's, since x_t is the same for both:
    RFDS       v_hat - (n - x)  =  (eps_hat - n) / (1 - t)  =  (1 + sigma / alpha) (eps_hat - n)
    reversal   n' = n + (1 - t) (v - (n - x))  =  eps(z; y, t)     (iRFDS, with the text, unguided)
    residual   eps_hat(z'; y, t) - n',   z' = alpha x + sigma n'
RFDS is therefore `sds` with w(t) = 1 + sigma / alpha (`timestep_weight: flow`), and the reversal
replaces the drawn noise by the noise that the prior sees in the same image: one step of what
SDI's inversion does in ten. Nothing in it asks for a flow.
"""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.guidance.sds import NoisyViews, sds_residual
from dreamfusion_kit.priors.base import Prior
from dreamfusion_kit.recipe.schema import RfdsRevSection


@torch.no_grad()
def rfds_rev_residual(
    section: RfdsRevSection, prior: Prior, views: NoisyViews
) -> Float[Tensor, "batch channels height width"]:
    """Return the guided noise less the reversed one, per image."""
    text = views.conditioning.conditional
    reversed_noise = prior.predict(views.noisy(prior), views.timestep, text)
    return sds_residual(section, prior, replace(views, noise=reversed_noise))
