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
