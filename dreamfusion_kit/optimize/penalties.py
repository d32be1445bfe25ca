"""Penalties beside the guidance (DreamFusion, A.2), each a mean over rays or the field's own."""

from collections.abc import Mapping
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.recipe.schedule import value_at
from dreamfusion_kit.recipe.schema import PenaltiesSection
from dreamfusion_kit.renderer import ray_penalties
from dreamfusion_kit.renderer.ray_samples import RaySamples

Penalty = Literal[
    "opacity",
    "orientation",
    "entropy",
    "distortion",
    "smoothness",
    "interlevel",
    "normal_consistency",
    "laplacian",
    "edge_length",
    "deviation",
]
"""The first six are a field's, the others a surface's."""

# Keeps the entropy's slope finite where a ray is empty or opaque.
_ENTROPY_MARGIN = 1e-4


@runtime_checkable  # beartype checks it in the tests
class Penalized(Protocol):
    """The penalties that belong to a model and not to a render."""

    @property
    def interlevel_lambda(self) -> float:
        """Return the weight of the proposal network's loss; 0 without one."""
        ...

    def smoothness(self) -> Float[Tensor, ""]:
        """Return the field's differentiable roughness."""
        ...


def opacity_penalty(opacity: Float[Tensor, "*rays"]) -> Float[Tensor, ""]:
    """Return the mean of `sqrt(opacity^2 + 0.01)`, which prefers empty rays."""
    return (opacity.square() + 0.01).sqrt().mean()


def entropy_penalty(opacity: Float[Tensor, "*rays"]) -> Float[Tensor, ""]:
    """Return the mean binary entropy of the rays in nats: rays should be empty or opaque."""
    inside = opacity.clamp(_ENTROPY_MARGIN, 1 - _ENTROPY_MARGIN)
    return (torch.special.entr(inside) + torch.special.entr(1 - inside)).mean()


def weighted_penalties(
    section: PenaltiesSection,
    opacity: Float[Tensor, "batch h w"],
    samples: RaySamples,
    model: Penalized,
    step: int,
) -> dict[Penalty, Float[Tensor, ""]]:
    """Return each penalty times its lambda at `step`; those whose lambda is 0 are left out.

    Args:
        section: The recipe's lambdas.
        opacity: Accumulated alpha of the step's render.
        samples: That render's samples along its rays.
        model: Has penalties of its own: the field's roughness, the proposal network's loss.
        step: The optimiser's step, for lambdas that are schedules.
    """
    terms: dict[Penalty, Float[Tensor, ""]] = {}
    if (opacity_lambda := value_at(section.opacity_lambda, step)) > 0:
        terms["opacity"] = opacity_lambda * opacity_penalty(opacity)
    if (orientation_lambda := value_at(section.orientation_lambda, step)) > 0:
        terms["orientation"] = orientation_lambda * ray_penalties.orientation(samples).mean()
    if (entropy_lambda := value_at(section.entropy_lambda, step)) > 0:
        terms["entropy"] = entropy_lambda * entropy_penalty(opacity)
    if (distortion_lambda := value_at(section.distortion_lambda, step)) > 0:
        terms["distortion"] = distortion_lambda * ray_penalties.distortion(samples).mean()
    if (smoothness_lambda := value_at(section.smoothness_lambda, step)) > 0:
        terms["smoothness"] = smoothness_lambda * model.smoothness()
    if model.interlevel_lambda > 0:
        terms["interlevel"] = model.interlevel_lambda * ray_penalties.interlevel(samples).mean()
    return terms


def sum_of(
    penalties: Mapping[Penalty, Float[Tensor, ""]], device: torch.device
) -> Float[Tensor, ""]:
    """Return the sum of the weighted penalties, in their order; 0 of none."""
    total = torch.zeros((), device=device)
    for term in penalties.values():
        total = total + term
    return total


def needs_normals(section: PenaltiesSection, step: int) -> bool:
    """Return whether a penalty reads the normals at `step`."""
    return value_at(section.orientation_lambda, step) > 0
