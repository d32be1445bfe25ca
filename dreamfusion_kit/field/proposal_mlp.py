"""A small network of density alone, whose weights choose where the field is sampled.

Mip-NeRF 360 (arXiv 2111.12077), s. 3: the renderer queries it first, along the whole ray, and
the field only where its weights lie. It is never rendered, and trained only by the
interlevel loss (`renderer.histogram.interlevel_from_weights`).

Encoding, space, blob and activation are the field's own, so that both start as the same shape.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dreamfusion_kit.field.base import ParameterGroup
from dreamfusion_kit.field.mip_mlp import ResidualNetwork, density_at, encode
from dreamfusion_kit.recipe.schedule import value_at
from dreamfusion_kit.recipe.schema import MipMlpSection, ProposalSection


class ProposalMlp(nn.Module):
    """Positions and variances to densities; `exponent` is that of the current step."""

    covariance: Tensor

    def __init__(
        self, section: ProposalSection, field: MipMlpSection, *, generator: torch.Generator
    ) -> None:
        """Draw the network, and start at the first step."""
        super().__init__()
        size = {"num_blocks": section.num_blocks, "hidden_width": section.hidden_width}
        self.section = section
        self.field_section = field.model_copy(update=size)
        self.num_samples = section.num_samples
        self.interlevel_lambda = section.loss_lambda
        self.network = ResidualNetwork(self.field_section, num_outputs=1, generator=generator)
        self.register_buffer("covariance", torch.zeros((), device=generator.device))
        self.set_step(0)

    def forward(
        self,
        positions: Float[Tensor, "samples 3"],
        variances: Float[Tensor, "samples 3"] | None,
    ) -> Float[Tensor, " samples"]:
        """Return densities per scene unit of Gaussians at world positions."""
        features = encode(self.field_section, self.covariance, positions, variances)
        return density_at(self.field_section, self.network(features)[:, 0], positions)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the network, which has one learning rate."""
        layers = list(self.network.parameters())
        return [{"name": "proposal", "params": layers, "lr": self.section.learning_rate}]

    def set_step(self, step: int) -> None:
        """Set what the recipe gives for `step`: the field's covariance, the weights' exponent."""
        self.covariance.fill_(value_at(self.field_section.covariance, step))
        self.exponent = value_at(self.section.weight_exponent, step)
