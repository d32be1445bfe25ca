"""Penalties beside the guidance (DreamFusion, A.2), each a mean over rays or the field's own.

The guidance's gradient is a sum over pixels, these are means over them: a lambda here is
larger by the number of pixels than one of a code that also sums its penalties.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.recipe.schedule import value_at
from dreamfusion_kit.recipe.schema import RegularizersSection
from dreamfusion_kit.records import RenderOutput

# Keeps the entropy's slope finite where a ray is empty or opaque.
_ENTROPY_MARGIN = 1e-4


def opacity_penalty(opacity: Float[Tensor, "*rays"]) -> Float[Tensor, ""]:
    """Return the mean of `sqrt(opacity^2 + 0.01)`, which prefers empty rays."""
    return (opacity.square() + 0.01).sqrt().mean()


def orientation_penalty(orientation: Float[Tensor, "*rays"]) -> Float[Tensor, ""]:
    """Return the mean over rays of the renderer's penalty on normals that face away."""
    return orientation.mean()


def distortion_penalty(distortion: Float[Tensor, "*rays"]) -> Float[Tensor, ""]:
    """Return the mean over rays of how far their weights are spread (mip-NeRF 360, eq. 15)."""
    return distortion.mean()


def entropy_penalty(opacity: Float[Tensor, "*rays"]) -> Float[Tensor, ""]:
    """Return the mean binary entropy of the rays in nats: rays should be empty or opaque."""
    inside = opacity.clamp(_ENTROPY_MARGIN, 1 - _ENTROPY_MARGIN)
    return (torch.special.entr(inside) + torch.special.entr(1 - inside)).mean()


def regularization(
    section: RegularizersSection,
    output: RenderOutput,
    smoothness: Callable[[], Float[Tensor, ""]],
    step: int,
) -> Float[Tensor, ""]:
    """Return the weighted sum of the penalties at `step`; one whose lambda is 0 costs nothing.

    `smoothness` gives the field's own roughness, 0 where that has no meaning.
    """
    total = torch.zeros((), device=output.opacity.device)
    if (opacity_lambda := value_at(section.opacity_lambda, step)) > 0:
        total = total + opacity_lambda * opacity_penalty(output.opacity)
    if (orientation_lambda := value_at(section.orientation_lambda, step)) > 0:
        total = total + orientation_lambda * orientation_penalty(output.orientation)
    if (entropy_lambda := value_at(section.entropy_lambda, step)) > 0:
        total = total + entropy_lambda * entropy_penalty(output.opacity)
    if (distortion_lambda := value_at(section.distortion_lambda, step)) > 0:
        total = total + distortion_lambda * distortion_penalty(output.distortion)
    if (smoothness_lambda := value_at(section.smoothness_lambda, step)) > 0:
        total = total + smoothness_lambda * smoothness()
    return total


def needs_normals(section: RegularizersSection, step: int) -> bool:
    """Return whether a penalty reads the normals at `step`."""
    return value_at(section.orientation_lambda, step) > 0
