"""Classifier-free guidance: the one place, the one convention."""

from jaxtyping import Float
from torch import Tensor


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
