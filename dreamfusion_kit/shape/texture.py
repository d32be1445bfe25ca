"""The albedo of a surface as a function around it: a colour of the surface, not a sum of fog.

Every texture is differentiable with respect to its parameters, not the positions: the motion of a
texture with its surface is the renderer's part.
"""

from abc import ABC, abstractmethod
from typing import assert_never

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dreamfusion_kit.field.base import ParameterGroup
from dreamfusion_kit.field.encodings import build_encoding
from dreamfusion_kit.field.hash_grid import build_network
from dreamfusion_kit.recipe.schema import (
    GridTextureSection,
    HashGridTextureSection,
    TextureSection,
)
from dreamfusion_kit.shape.lattice import lattice
from dreamfusion_kit.shape.lookup import looked_up
from dreamfusion_kit.shape.start import Start

_PUREST = 0.02  # the start is kept so far from 0 and 1, where the sigmoid is flat


class Texture(nn.Module, ABC):
    """Albedo at positions around a surface."""

    @abstractmethod
    def forward(self, positions: Float[Tensor, "samples 3"]) -> Float[Tensor, "samples 3"]:
        """Return the albedo at positions, in [0, 1]; outside of the cube that of its border."""

    @abstractmethod
    def parameter_groups(self) -> list[ParameterGroup]:
        """Return every parameter once, with the recipe's learning rates."""


def build_texture(section: TextureSection, start: Start, *, generator: torch.Generator) -> Texture:
    """Return the recipe's texture; `generator` draws its initial values, on the CPU."""
    match section:
        case GridTextureSection():
            return GridTexture(section, start)
        case HashGridTextureSection():
            return HashGridTexture(section, start, generator=generator)
        case _:
            assert_never(section)


class GridTexture(Texture):
    """Raw albedo at the points of a lattice, trilinear between them."""

    def __init__(self, section: GridTextureSection, start: Start) -> None:
        """Start with the colours of the coarse surface, extended around it."""
        super().__init__()
        self.section = section
        self.bounding_radius = start.bounding_radius
        self.albedo = nn.Parameter(_raw_colors(start, section.resolution))

    def forward(self, positions: Float[Tensor, "samples 3"]) -> Float[Tensor, "samples 3"]:
        """Return the albedo at positions, in [0, 1]; beyond the lattice that of its border."""
        return looked_up(
            self.albedo, self.section.resolution, self.bounding_radius, positions
        ).sigmoid()

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the grid."""
        return [{"name": "texture", "params": [self.albedo], "lr": self.section.learning_rate}]


class HashGridTexture(Texture):
    """A hash grid read by a small network, which changes the coarse colours where it has them."""

    start: Tensor | None

    def __init__(
        self, section: HashGridTextureSection, start: Start, *, generator: torch.Generator
    ) -> None:
        """Start with the coarse surface's colours to 1e-3 or so, or with grey."""
        super().__init__()
        self.section = section
        self.bounding_radius = start.bounding_radius
        self.encoding = build_encoding(section, generator=generator)
        self.network = build_network(section, self.encoding.num_features, 3, generator=generator)
        resolution = section.start_resolution
        raw = None if resolution is None else _raw_colors(start, resolution)
        self.register_buffer("start", raw)

    def forward(self, positions: Float[Tensor, "samples 3"]) -> Float[Tensor, "samples 3"]:
        """Return the albedo at positions, in [0, 1]; outside of the cube that of its border."""
        unit_positions = 0.5 + positions.detach() / (2 * self.bounding_radius)
        raw = self.network(self.encoding(unit_positions, self.section.num_levels))
        if self.start is not None and self.section.start_resolution is not None:
            resolution = self.section.start_resolution
            raw = raw + looked_up(self.start, resolution, self.bounding_radius, positions)
        return raw.sigmoid()

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the tables and the network, each with its learning rate."""
        section = self.section
        tables, layers = list(self.encoding.parameters()), list(self.network.parameters())
        return [
            {"name": "texture_encoding", "params": tables, "lr": section.encoding_learning_rate},
            {"name": "texture_network", "params": layers, "lr": section.network_learning_rate},
        ]


def _raw_colors(start: Start, resolution: int) -> Float[Tensor, "points 3"]:
    """Return the coarse colours at a lattice's points, before the sigmoid."""
    positions = lattice(resolution, start.bounding_radius).reshape(-1, 3)
    return torch.logit(start.colors(positions).clamp(_PUREST, 1 - _PUREST))
