"""The background behind the object: a colour for each direction (DreamFusion, A.2).

The paper's second network, of "positionally-encoded ray direction"; its size is not
stated. It never sees a position, so it can paint a sky but not a second object.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dreamfusion_kit.field.base import ParameterGroup
from dreamfusion_kit.field.integrated_encoding import integrated_encoding
from dreamfusion_kit.field.layers import linear
from dreamfusion_kit.recipe.schema import MlpBackgroundSection


class BackgroundMlp(nn.Module):
    """Directions to colours in [0, 1], through Swish layers and a sigmoid."""

    def __init__(self, section: MlpBackgroundSection, *, generator: torch.Generator) -> None:
        """Draw the layers."""
        super().__init__()
        self.section = section
        layers: list[nn.Module] = []
        width_in = 6 * section.num_frequencies
        for _ in range(section.num_hidden_layers):
            layers += [linear(width_in, section.hidden_width, generator=generator), nn.SiLU()]
            width_in = section.hidden_width
        self.layers = nn.Sequential(*layers, linear(width_in, 3, generator=generator))

    def forward(
        self, directions: Float[Tensor, "*rays 3"], *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*rays 3"]:
        """Return the colour behind each ray (unit length); nothing is drawn at random."""
        flat = directions.reshape(-1, 3)
        features = integrated_encoding(
            flat, flat.new_zeros(()), num_levels=self.section.num_frequencies
        )
        return self.layers(features).sigmoid().view_as(directions)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return every parameter, with the recipe's learning rate."""
        layers = list(self.parameters())
        return [{"name": "background", "params": layers, "lr": self.section.learning_rate}]
