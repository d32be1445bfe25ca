"""DreamFusion's own field: a residual network on integrated positional encoding (A.2).

Around each position lies a Gaussian of covariance `lambda * I`. Lambda falls over the run,
from 0.05 to 0.002 in the paper, so that details appear late. The paper uses it in
place of the pixel's own footprint, which mip-NeRF uses. In contracted space it is the
covariance there: a Gaussian far out is as wide as its distance.

    h_0      = W x
    h_(k+1)  = h_k + B_k swish(A_k norm(h_k))      5 blocks of width 128 in the paper
    raw      = V norm(h_last)                       one density and three albedos

The paper states the number of blocks, the width, Swish and "layer normalization between
blocks". Placing the norm before each block's branch, where gradients bypass it, is the kit's
reading.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import silu

from dreamfusion_kit.field.base import Field, ParameterGroup
from dreamfusion_kit.field.contraction import contract, contract_variances
from dreamfusion_kit.field.density_bias import (
    density_from_raw,
    shape_from_raw,
    unbounded_density_from_raw,
)
from dreamfusion_kit.field.integrated_encoding import integrated_encoding
from dreamfusion_kit.field.layers import linear
from dreamfusion_kit.field.normals import normals_from_gradient
from dreamfusion_kit.recipe.schedule import value_at
from dreamfusion_kit.recipe.schema import MipMlpSection
from dreamfusion_kit.records import FieldSample


class MipMlp(Field):
    """Encoding and network; the current covariance is part of the state, so files save it."""

    covariance: Tensor

    def __init__(self, section: MipMlpSection, *, generator: torch.Generator) -> None:
        """Draw the network, and start with the first step's covariance."""
        super().__init__()
        self.section = section
        self.bounding_radius = section.bounding_radius
        self.network = ResidualNetwork(section, num_outputs=4, generator=generator)
        initial = torch.tensor(value_at(section.covariance, 0), device=generator.device)
        self.register_buffer("covariance", initial)

    def forward(
        self,
        positions: Float[Tensor, "samples 3"],
        with_normals: bool,
        variances: Float[Tensor, "samples 3"] | None = None,
    ) -> FieldSample:
        """Return density, albedo and, `with_normals`, normals from the density's own gradient.

        The gradient is exact and stays differentiable, so that a loss on normals reaches
        every parameter through second derivatives. The recipe's covariance is added to the
        `variances`.
        """
        if not with_normals:
            raw, albedo = torch.split(self._raw(positions, variances), [1, 3], dim=-1)
            return self._sample(raw[:, 0], albedo, positions, None)
        trains = torch.is_grad_enabled()
        with torch.enable_grad():
            leaf = positions.detach().requires_grad_()
            raw, albedo = torch.split(self._raw(leaf, variances), [1, 3], dim=-1)
            shape = shape_from_raw(self.section, raw[:, 0], _squared_radius(self.section, leaf))
            (gradient,) = torch.autograd.grad(shape.sum(), leaf, create_graph=trains)
        if not trains:
            raw, albedo = raw.detach(), albedo.detach()
        return self._sample(raw[:, 0], albedo, positions, normals_from_gradient(gradient))

    def densities(self, positions: Float[Tensor, "samples 3"]) -> Float[Tensor, " samples"]:
        """Return the densities alone."""
        return density_at(self.section, self._raw(positions)[:, 0], positions)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the network, which has one learning rate."""
        layers = list(self.network.parameters())
        return [{"name": "network", "params": layers, "lr": self.section.learning_rate}]

    def smoothness(self) -> Float[Tensor, ""]:
        """Return 0: the encoding's covariance is what keeps this field smooth."""
        return torch.zeros((), device=self.covariance.device)

    def set_step(self, step: int) -> None:
        """Set the covariance that the recipe gives for `step`."""
        self.covariance.fill_(value_at(self.section.covariance, step))

    def _raw(
        self,
        positions: Float[Tensor, "samples 3"],
        variances: Float[Tensor, "samples 3"] | None = None,
    ) -> Float[Tensor, "samples 4"]:
        return self.network(encode(self.section, self.covariance, positions, variances))

    def _sample(
        self,
        raw: Float[Tensor, " samples"],
        albedo: Float[Tensor, "samples 3"],
        positions: Float[Tensor, "samples 3"],
        normals: Float[Tensor, "samples 3"] | None,
    ) -> FieldSample:
        return FieldSample(density_at(self.section, raw, positions), albedo.sigmoid(), normals)


def encode(
    section: MipMlpSection,
    covariance: Float[Tensor, ""],
    positions: Float[Tensor, "samples 3"],
    variances: Float[Tensor, "samples 3"] | None,
) -> Float[Tensor, "samples features"]:
    """Return the features of Gaussians at world positions: `variances` plus the covariance."""
    spread = covariance
    if variances is not None:
        spread = spread + _placed_variances(section, positions, variances)
    placed = _placed(section, positions)
    return integrated_encoding(placed, spread, num_levels=section.num_frequencies)


def density_at(
    section: MipMlpSection, raw: Float[Tensor, " samples"], positions: Float[Tensor, "samples 3"]
) -> Float[Tensor, " samples"]:
    """Return densities >= 0 per scene unit, from the network's raw ones."""
    squared_radius = _squared_radius(section, positions)
    if section.space == "contracted":
        return unbounded_density_from_raw(section, raw, squared_radius)
    return density_from_raw(section, raw, squared_radius)


def _squared_radius(
    section: MipMlpSection, positions: Float[Tensor, "samples 3"]
) -> Float[Tensor, " samples"]:
    return _placed(section, positions).square().sum(dim=-1)


def _placed(
    section: MipMlpSection, positions: Float[Tensor, "samples 3"]
) -> Float[Tensor, "samples 3"]:
    """Return the positions as the encoding and the initial blob see them."""
    if section.space == "contracted":
        return contract(positions, section.bounding_radius)
    return positions


def _placed_variances(
    section: MipMlpSection,
    positions: Float[Tensor, "samples 3"],
    variances: Float[Tensor, "samples 3"],
) -> Float[Tensor, "samples 3"]:
    if section.space == "contracted":
        return contract_variances(positions, variances, section.bounding_radius)
    return variances


class ResidualNetwork(nn.Module):
    """The network of the module's formulas; features in, raw numbers out."""

    def __init__(
        self, section: MipMlpSection, *, num_outputs: int, generator: torch.Generator
    ) -> None:
        """Draw the layers."""
        super().__init__()
        width = section.hidden_width
        self.first = linear(6 * section.num_frequencies, width, generator=generator)
        self.blocks = nn.ModuleList(
            [_ResidualBlock(width, generator=generator) for _ in range(section.num_blocks)]
        )
        self.norm = nn.LayerNorm(width, device=generator.device)
        self.last = linear(width, num_outputs, generator=generator)

    def forward(
        self, features: Float[Tensor, "samples features"]
    ) -> Float[Tensor, "samples channels"]:
        """Return the raw density, then the network's other outputs, if any."""
        hidden = self.first(features)
        for block in self.blocks:
            hidden = block(hidden)
        return self.last(self.norm(hidden))


class _ResidualBlock(nn.Module):
    def __init__(self, width: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, device=generator.device)
        self.inner = linear(width, width, generator=generator)
        self.outer = linear(width, width, generator=generator)

    def forward(self, hidden: Float[Tensor, "samples width"]) -> Float[Tensor, "samples width"]:
        return hidden + self.outer(silu(self.inner(self.norm(hidden))))
