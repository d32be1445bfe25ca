"""A multiresolution hash grid read by a small network (Instant-NGP, arXiv 2201.05989)."""

import itertools

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dreamfusion_kit.field.base import Field, ParameterGroup
from dreamfusion_kit.field.density_bias import density_from_raw, shape_from_raw
from dreamfusion_kit.field.encodings import build_encoding
from dreamfusion_kit.field.normals import (
    TETRAHEDRON_TAPS,
    finite_difference_gradient,
    normals_from_gradient,
)
from dreamfusion_kit.recipe.schema import HashGridSection, HashGridTextureSection
from dreamfusion_kit.records import FieldSample


class HashGrid(Field):
    """Encoding and network; the enabled levels are part of the state, so files save them."""

    num_levels: Tensor

    def __init__(self, section: HashGridSection, *, generator: torch.Generator) -> None:
        """Draw the tables and the network, and start with the coarse levels."""
        super().__init__()
        self.section = section
        self.bounding_radius = section.bounding_radius
        self.encoding = build_encoding(section, generator=generator)
        self.network = build_network(section, self.encoding.num_features, 4, generator=generator)
        initial = torch.tensor(section.initial_levels, device=generator.device)
        self.register_buffer("num_levels", initial)

    def forward(
        self,
        positions: Float[Tensor, "samples 3"],
        with_normals: bool,
        variances: Float[Tensor, "samples 3"] | None = None,
    ) -> FieldSample:
        """Return density, albedo and, `with_normals`, normals by finite differences."""
        raw, albedo = torch.split(self._raw(positions), [1, 3], dim=-1)
        return FieldSample(
            densities=density_from_raw(self.section, raw[:, 0], _squared_radius(positions)),
            albedo=albedo.sigmoid(),
            normals=self._normals(positions) if with_normals else None,
        )

    def densities(self, positions: Float[Tensor, "samples 3"]) -> Float[Tensor, " samples"]:
        """Return the densities alone."""
        raw = self._raw(positions)[:, 0]
        return density_from_raw(self.section, raw, _squared_radius(positions))

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the tables and the network, each with its learning rate."""
        section = self.section
        tables, layers = list(self.encoding.parameters()), list(self.network.parameters())
        return [
            {"name": "encoding", "params": tables, "lr": section.encoding_learning_rate},
            {"name": "network", "params": layers, "lr": section.network_learning_rate},
        ]

    def smoothness(self) -> Float[Tensor, ""]:
        """Return 0: neighbouring rows of a hashed table are not neighbours in space."""
        return torch.zeros((), device=self.num_levels.device)

    def set_step(self, step: int) -> None:
        """Enable as many levels as the recipe says for `step`."""
        section = self.section
        in_use = section.initial_levels + step // section.level_every_steps
        self.num_levels.fill_(min(in_use, section.num_levels))

    def _raw(self, positions: Float[Tensor, "samples 3"]) -> Float[Tensor, "samples 4"]:
        """Return raw density and raw albedo."""
        unit_positions = 0.5 + positions / (2 * self.bounding_radius)
        return self.network(self.encoding(unit_positions, int(self.num_levels)))

    def _normals(self, positions: Float[Tensor, "samples 3"]) -> Float[Tensor, "samples 3"]:
        gradient = finite_difference_gradient(
            self._shape, positions, epsilon=self.section.normal_epsilon, taps=TETRAHEDRON_TAPS
        )
        return normals_from_gradient(gradient)

    def _shape(self, positions: Float[Tensor, "samples 3"]) -> Float[Tensor, " samples"]:
        raw = self._raw(positions)[:, 0]
        return shape_from_raw(self.section, raw, _squared_radius(positions))


def _squared_radius(positions: Float[Tensor, "samples 3"]) -> Float[Tensor, " samples"]:
    return positions.square().sum(dim=-1)


def build_network(
    section: HashGridSection | HashGridTextureSection,
    num_features: int,
    num_outputs: int,
    *,
    generator: torch.Generator,
) -> nn.Sequential:
    """Return the network that turns features into raw outputs: a density and albedos, say."""
    hidden = [section.hidden_width] * section.num_hidden_layers
    widths = [num_features, *hidden, num_outputs]
    layers: list[nn.Module] = []
    for width_in, width_out in itertools.pairwise(widths):
        # Built without storage first: nn.Linear would draw from the global generator.
        linear = nn.Linear(width_in, width_out, device="meta").to_empty(device=generator.device)
        nn.init.kaiming_uniform_(linear.weight, nonlinearity="relu", generator=generator)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])
