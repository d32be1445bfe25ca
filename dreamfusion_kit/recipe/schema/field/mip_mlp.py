"""DreamFusion's network."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from dreamfusion_kit.recipe.schema.base import (
    LearningRate,
    Length,
    Lighter,
    RawDensity,
    Schedule,
    Section,
    Width,
)
from dreamfusion_kit.recipe.schema.field.base import (
    BOUNDING_RADIUS,
    DENSITY_ACTIVATION,
    DENSITY_OFFSET,
    check_exponent,
)
from dreamfusion_kit.recipe.schema.field.density_bias import DensityBiasSection


class MipMlpSection(Section):
    """DreamFusion's residual network on integrated positional encoding (DF A.2)."""

    kind: Literal["mip_mlp"] = Field(description="Residual MLP on integrated encoding.")
    num_blocks: int = Field(ge=1, le=64, description="Residual blocks of two layers each (DF: 5).")
    hidden_width: Width = Field(description="Units of each hidden layer (DF: 128).")
    num_frequencies: int = Field(
        ge=1, le=16, description="Frequencies 2^0 to 2^(L-1) of the encoding, L (DF: 8)."
    )
    covariance: Schedule = Field(
        description="lambda_Sigma: variance per axis of the Gaussian around a position, scene "
        "units squared (DF A.2: 5e-2 to 2e-3 in 5000 steps)."
    )
    space: Literal["ball", "contracted"] = Field(
        description="Whether space ends at bounding_radius (ball; DF) or is contracted from there "
        "on (contracted; mip-NeRF 360, eq. 10)."
    )
    bounding_radius: Length = Field(description=BOUNDING_RADIUS)
    density_activation: Literal["exp", "softplus"] = Field(description=DENSITY_ACTIVATION)
    density_bias: DensityBiasSection = Field(
        description="The blob that an optimisation starts from."
    )
    density_offset: RawDensity = Field(description=DENSITY_OFFSET)
    learning_rate: LearningRate = Field(description="Step size for the network (DF A.2: 1e-4).")
    reads_cones: ClassVar[bool] = True
    takes_turns: ClassVar[bool] = False

    @property
    def num_parameters(self) -> int:
        """Return the parameter count of all layers and norms."""
        width = self.hidden_width
        ends = (6 * self.num_frequencies + 1) * width + 2 * width + 4 * (width + 1)
        return ends + self.num_blocks * 2 * (width**2 + 2 * width)

    @property
    def numbers_per_sample(self) -> int:
        """Return six vectors per block, forward and for the gradient that normals take."""
        return 3 * (6 * self.num_blocks * self.hidden_width + 12 * self.num_frequencies)

    @property
    def lighter(self) -> Lighter:
        """Return keys that cost memory, with a cheaper value."""
        return {
            "hidden_width": max(1, self.hidden_width // 2),
            "num_blocks": max(1, self.num_blocks // 2),
        }

    def scaled(self, share: float) -> "MipMlpSection":
        """Return a narrower network with about that share of the parameters."""
        width = max(1, round(self.hidden_width * share**0.5))
        return self.model_copy(update={"hidden_width": width})

    @model_validator(mode="after")
    def _density_is_finite(self) -> Self:
        check_exponent(self)
        return self
