"""Roughness and metallic around a surface: one number or a grid, fixed or learned."""

import math
from typing import assert_never

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dreamfusion_kit.field.base import ParameterGroup
from dreamfusion_kit.recipe.schema import (
    FixedValueSection,
    GridValueSection,
    LearnedValueSection,
    MaterialSection,
    MaterialValueSection,
)
from dreamfusion_kit.shape.lookup import looked_up

_PUREST = 0.02  # a start is kept so far from 0 and 1, where the sigmoid is flat


class Material(nn.Module):
    """Both values at positions; learned ones are a sigmoid of what is optimised."""

    def __init__(self, section: MaterialSection, bounding_radius: float) -> None:
        """Begin with the recipe's starts; nothing is drawn at random."""
        super().__init__()
        self.section = section
        self.roughness = _Value(section.roughness, bounding_radius, "roughness")
        self.metallic = _Value(section.metallic, bounding_radius, "metallic")

    def forward(self, positions: Float[Tensor, "samples 3"]) -> Float[Tensor, "samples 2"]:
        """Return roughness and metallic, in [0, 1]."""
        return torch.stack([self.roughness(positions), self.metallic(positions)], dim=-1)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return what is learned."""
        return [*self.roughness.parameter_groups(), *self.metallic.parameter_groups()]

    @property
    def varies(self) -> bool:
        """Return whether a value differs from place to place."""
        sections = (self.section.roughness, self.section.metallic)
        return any(isinstance(section, GridValueSection) for section in sections)


class _Value(nn.Module):
    """One of the two."""

    def __init__(self, section: MaterialValueSection, bounding_radius: float, name: str) -> None:
        super().__init__()
        self.section, self.bounding_radius, self.name = section, bounding_radius, name
        match section:
            case FixedValueSection():
                self.raw = None
            case LearnedValueSection(start=start):
                self.raw = nn.Parameter(_raw(start, 1))
            case GridValueSection(start=start, resolution=resolution):
                self.raw = nn.Parameter(_raw(start, resolution**3))
            case _:
                assert_never(section)

    def forward(self, positions: Float[Tensor, "samples 3"]) -> Float[Tensor, " samples"]:
        match self.section, self.raw:
            case FixedValueSection(value=value), _:
                return positions.new_full((len(positions),), value)
            case GridValueSection(resolution=resolution), Tensor() as raw:
                found = looked_up(raw, resolution, self.bounding_radius, positions)
                return found[:, 0].sigmoid()
            case _, Tensor() as raw:
                return raw[:, 0].sigmoid().expand(len(positions))
            case _:
                raise AssertionError(self.section.kind)

    def parameter_groups(self) -> list[ParameterGroup]:
        if self.raw is None or isinstance(self.section, FixedValueSection):
            return []
        rate = self.section.learning_rate
        return [{"name": f"material_{self.name}", "params": [self.raw], "lr": rate}]


def _raw(start: float, count: int) -> Float[Tensor, "texels 1"]:
    value = min(max(start, _PUREST), 1 - _PUREST)
    return torch.full((count, 1), math.log(value / (1 - value)))
