"""The albedo of a surface as a grid around it: a colour of the surface, not a sum of fog."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dreamfusion_kit.field.base import ParameterGroup
from dreamfusion_kit.field.lookup import corner_weights, weighted_rows
from dreamfusion_kit.recipe.schema import TextureSection
from dreamfusion_kit.shape.lattice import lattice
from dreamfusion_kit.shape.start import Start

_PUREST = 0.02  # the start is kept so far from 0 and 1, where the sigmoid is flat


class Texture(nn.Module):
    """Raw albedo at the points of a lattice, trilinear between them.

    Differentiable with respect to the albedo, not the positions: the motion of a texture with its
    surface is the renderer's part.
    """

    def __init__(self, section: TextureSection, start: Start) -> None:
        """Start with the colours of the coarse surface, extended around it."""
        super().__init__()
        self.section = section
        self.bounding_radius = start.bounding_radius
        positions = lattice(section.resolution, start.bounding_radius).reshape(-1, 3)
        colors = start.colors(positions).clamp(_PUREST, 1 - _PUREST)
        self.albedo = nn.Parameter(torch.logit(colors))

    def forward(self, positions: Float[Tensor, "samples 3"]) -> Float[Tensor, "samples 3"]:
        """Return the albedo at positions, in [0, 1]; beyond the lattice that of its border."""
        resolution = self.section.resolution
        cell_size = 2 * self.bounding_radius / (resolution - 1)
        scaled = (positions.detach() + self.bounding_radius) / cell_size
        scaled = scaled.clamp(0, resolution - 1)
        lower = scaled.floor().clamp_max(resolution - 2)
        x, y, z = lower.long().unbind(dim=-1)
        offsets = [
            (i * resolution + j) * resolution + k for i in (0, 1) for j in (0, 1) for k in (0, 1)
        ]
        first = (x * resolution + y) * resolution + z
        indices = first[:, None] + torch.tensor(offsets, device=positions.device)
        return weighted_rows(self.albedo, indices, corner_weights(scaled - lower)).sigmoid()

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the grid."""
        return [{"name": "texture", "params": [self.albedo], "lr": self.section.learning_rate}]
