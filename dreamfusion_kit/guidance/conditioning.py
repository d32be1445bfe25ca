"""The text of each rendered view: what to move towards, and what to move away from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from dreamfusion_kit.guidance import perp_neg
from dreamfusion_kit.guidance.view_prompts import (
    VIEWS,
    nearest_view,
    row_of,
    view_weights,
)
from dreamfusion_kit.priors.base import Prior
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe.schema import NEGATIVE, ScoreGuidanceSection, ViewPromptsSection
from dreamfusion_kit.records import Cameras


@dataclass(frozen=True)
class PromptFeatures:
    """The embed stage's features; row i is for the i-th of `keys` (see `guidance_prompts`)."""

    features: TextFeatures
    keys: Sequence[str]

    @classmethod
    def of(cls, features: TextFeatures, prompts: Mapping[str, str]) -> "PromptFeatures":
        """Return the features of `prompts`."""
        return cls(features, list(prompts))

    def select(self, keys: Sequence[str]) -> TextFeatures:
        """Return one row per key; WeightsError where a key was not embedded."""
        return self.features.select([row_of(key, self.keys) for key in keys])

    def for_views(self, cameras: Cameras, section: ViewPromptsSection) -> TextFeatures:
        """Return one row per camera: its view's features, or a mix of its two nearest views'."""
        match section.combine:
            case "nearest":
                return self.select([nearest_view(*orbit, section) for orbit in _orbits(cameras)])
            case "interpolated":
                shares = [view_weights(*orbit, section) for orbit in _orbits(cameras)]
                weights = cameras.azimuth_deg.new_tensor(shares)
                views = self.select(VIEWS).tensors
                return TextFeatures({name: _mix(weights, rows) for name, rows in views.items()})
            case _:
                assert_never(section.combine)


@dataclass(frozen=True)
class Conditioning:
    """What a diffusion model reads beside the noisy images, one row per image.

    `negatives` are Perp-Neg's texts, each with a weight per image; none without it. `cameras` is
    what the prior reads of each image's camera. It is in every text of this record already.
    """

    conditional: TextFeatures
    unconditional: TextFeatures
    negatives: tuple[TextFeatures, ...] = ()
    negative_weights: Float[Tensor, "batch texts"] | None = None
    cameras: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])

    def seen(self, text: TextFeatures) -> TextFeatures:
        """Return another text of the same images, with their cameras beside it."""
        return text.beside(self.cameras)

    def seen_from(self, cameras: Mapping[str, Tensor]) -> "Conditioning":
        """Return the same texts with `cameras` beside each."""
        return Conditioning(
            self.conditional.beside(cameras),
            self.unconditional.beside(cameras),
            tuple(text.beside(cameras) for text in self.negatives),
            self.negative_weights,
            cameras,
        )


def conditioning_for(
    section: ScoreGuidanceSection, prior: Prior, prompts: PromptFeatures, cameras: Cameras
) -> Conditioning:
    """Return what `prior` reads beside the images that `cameras` took."""
    read = prior.camera_features(cameras)
    return _texts_for(section, prompts, cameras).seen_from(read)


def _texts_for(
    section: ScoreGuidanceSection, prompts: PromptFeatures, cameras: Cameras
) -> Conditioning:
    batch = len(cameras.azimuth_deg)
    unconditional = prompts.select([NEGATIVE] * batch)
    if section.perp_neg is None:
        return Conditioning(prompts.for_views(cameras, section.view_prompts), unconditional)
    mixes = [
        perp_neg.view_mix(section.perp_neg, section.view_prompts, *orbit)
        for orbit in _orbits(cameras)
    ]
    device = cameras.azimuth_deg.device
    toward = prompts.select([mix.nearer for mix in mixes])
    away = prompts.select([mix.farther for mix in mixes])
    share = torch.tensor([mix.share for mix in mixes], device=device)
    return Conditioning(
        perp_neg.interpolate(toward, away, share),
        unconditional,
        tuple(prompts.select([mix.negatives[index] for mix in mixes]) for index in range(2)),
        torch.tensor([mix.weights for mix in mixes], device=device),
    )


def _mix(
    weights: Float[Tensor, "batch views"], rows: Shaped[Tensor, "views *feature"]
) -> Shaped[Tensor, "batch *feature"]:
    """Return weighted sums; for masks, the union of those with non-zero weight."""
    if rows.is_floating_point():
        return torch.tensordot(weights.to(rows.dtype), rows, dims=1)
    shares = weights.view(*weights.shape, *[1] * (rows.ndim - 1))
    return (rows * (shares > 0)).amax(dim=1).to(rows.dtype)


def _orbits(cameras: Cameras) -> list[tuple[float, float]]:
    azimuth_deg, elevation_deg = cameras.azimuth_deg.tolist(), cameras.elevation_deg.tolist()
    return list(zip(azimuth_deg, elevation_deg, strict=True))
