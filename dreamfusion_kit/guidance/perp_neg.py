"""Perp-Neg (Armandpour et al. 2023, arXiv 2304.04968): negatives that cannot undo the positive.

Notation, per image:
    e_pos, e_i   eps_c - eps_u, and the same for the i-th negative text
    e_i_perp     e_i - (<e_i, e_pos> / |e_pos|^2) e_pos
    guided       eps_u + s (e_pos - sum_i w_i e_i_perp)

Inner products run over one image, not over the batch: an image's result does not
depend on the rest of the batch.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from dreamfusion_kit.guidance.view_prompts import View, nearest_view, side_of
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe.schema import PerpNegSection, ViewPromptsSection

# Below this squared length there is no direction to be perpendicular to.
_MIN_SQUARED_LENGTH = 1e-12


@dataclass(frozen=True)
class ViewMix:
    """The text of one camera, `share * nearer + (1 - share) * farther`, and its negatives."""

    nearer: View
    farther: View
    share: float
    negatives: tuple[View, View]
    weights: tuple[float, float]


def view_mix(
    section: PerpNegSection, views: ViewPromptsSection, azimuth_deg: float, elevation_deg: float
) -> ViewMix:
    """Return the texts of a camera: front to side up to 90 degrees off, then side to back.

    An overhead view is not mixed, and its negatives weigh nothing. Weights never fall below 0:
    the published decays end slightly below it.
    """
    if nearest_view(azimuth_deg, elevation_deg, views) == "overhead":
        return ViewMix("overhead", "overhead", 1.0, ("front", "left"), (0.0, 0.0))
    side = side_of(azimuth_deg)
    quarter_turns = abs((azimuth_deg + 180) % 360 - 180) / 90
    if quarter_turns < 1:
        share = 1 - quarter_turns
        weights = _decay(section.front_at_side, share), _decay(section.side_at_front, 1 - share)
        return ViewMix("front", side, share, ("front", side), weights)
    share = 2 - quarter_turns
    weights = _decay(section.side_at_back, share), _decay(section.front_at_back, share)
    return ViewMix(side, "back", share, (side, "front"), weights)


def interpolate(
    first: TextFeatures, second: TextFeatures, share: Float[Tensor, " batch"]
) -> TextFeatures:
    """Return `share * first + (1 - share) * second` by row; for masks, the union of both.

    A text with no share adds nothing to a row's mask.
    """
    return TextFeatures(
        {name: _mix(rows, second.tensors[name], share) for name, rows in first.tensors.items()}
    )


def combine_perpendicular(
    unconditional: Float[Tensor, "batch channels height width"],
    conditional: Float[Tensor, "batch channels height width"],
    negatives: list[Float[Tensor, "batch channels height width"]],
    weights: Float[Tensor, "batch texts"],
    guidance_scale: float,
) -> Float[Tensor, "batch channels height width"]:
    """Return the guided noise; without negatives it is plain classifier-free guidance."""
    toward = conditional - unconditional
    direction = toward
    for negative, weight in zip(negatives, weights.unbind(dim=1), strict=True):
        perpendicular = perpendicular_part(negative - unconditional, toward)
        direction = direction - weight[:, None, None, None] * perpendicular
    return unconditional + guidance_scale * direction


def perpendicular_part(
    vector: Float[Tensor, "batch channels height width"],
    axis: Float[Tensor, "batch channels height width"],
) -> Float[Tensor, "batch channels height width"]:
    """Return the part of each image's `vector` that is perpendicular to its `axis`."""
    whole_image = (1, 2, 3)
    along = (vector * axis).sum(dim=whole_image, keepdim=True)
    squared_length = axis.square().sum(dim=whole_image, keepdim=True)
    return vector - along / squared_length.clamp(min=_MIN_SQUARED_LENGTH) * axis


def _mix(
    rows: Shaped[Tensor, "batch *feature"],
    others: Shaped[Tensor, "batch *feature"],
    share: Float[Tensor, " batch"],
) -> Shaped[Tensor, "batch *feature"]:
    by_row = share.to(rows.device).reshape(-1, *[1] * (rows.ndim - 1))
    if rows.is_floating_point():
        return torch.lerp(others, rows, by_row.to(rows))
    return ((rows * (by_row > 0)) | (others * (by_row < 1))).to(rows.dtype)


def _decay(coefficients: tuple[float, float, float], share: float) -> float:
    a, b, c = coefficients
    return max(a * math.exp(-b * share) + c, 0.0)
