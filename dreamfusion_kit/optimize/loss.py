"""The one number whose gradient moves the field: guidance and penalties on one scale.

    loss = 4096 (guidance + sum of lambda * penalty)

Everything inside the brackets is a mean over views and pixels, so that a lambda means the same
at every image size, batch size and prior. The factor outside sets no balance. It gives the
optimiser the gradients of a sum over a 64 x 64 image at every size: published epsilons and
clipping norms are meant for those.
"""

from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.records import GuidanceOutput

SUMMED_PIXELS = 4096.0


def total_loss(
    guidance: GuidanceOutput,
    images: Float[Tensor, "batch 3 h w"],
    opacity: Float[Tensor, "batch h w"],
    penalty: Float[Tensor, ""],
) -> Float[Tensor, ""]:
    """Return a loss whose gradient on `images` and `opacity` is the guidance's, plus `penalty`.

    Args:
        guidance: The gradients that the guidance gave for this render.
        images: The render, with its graph to the field.
        opacity: Its accumulated alpha, with the graph.
        penalty: The weighted sum of the penalties.
    """
    loss = (guidance.gradient * images).sum() + penalty
    if guidance.opacity_gradient is not None:
        loss = loss + (guidance.opacity_gradient * opacity).sum()
    return SUMMED_PIXELS * loss
