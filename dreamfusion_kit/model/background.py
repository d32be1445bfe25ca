"""The background in training: a plain image drawn per view, or a network."""

from typing import assert_never

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dreamfusion_kit.field.background_mlp import BackgroundMlp
from dreamfusion_kit.field.base import ParameterGroup
from dreamfusion_kit.recipe.schema import (
    BackgroundSection,
    ConstantBackgroundSection,
    MlpBackgroundSection,
    PlainBackgroundSection,
    RandomBackgroundSection,
)
from dreamfusion_kit.renderer.background import sample_background


class PlainBackground(nn.Module):
    """Draws its images and learns nothing; offers what `BackgroundMlp` offers."""

    def __init__(self, section: PlainBackgroundSection) -> None:
        """Keep the section; there is no other state."""
        super().__init__()
        self._section = section

    def forward(
        self, directions: Float[Tensor, "batch h w 3"], *, generator: torch.Generator
    ) -> Float[Tensor, "batch h w 3"]:
        """Draw one image per batch entry, on the generator's device."""
        return sample_background(self._section, *directions.shape[:3], generator=generator)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return nothing."""
        return []


Background = BackgroundMlp | PlainBackground


def build_background(section: BackgroundSection, *, generator: torch.Generator) -> Background:
    """Return the recipe's background; `generator` draws a network's first values."""
    match section:
        case MlpBackgroundSection():
            return BackgroundMlp(section, generator=generator)
        case ConstantBackgroundSection() | RandomBackgroundSection():
            return PlainBackground(section)
        case _:
            assert_never(section)
