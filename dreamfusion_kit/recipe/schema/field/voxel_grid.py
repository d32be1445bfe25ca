"""Dense grids."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from dreamfusion_kit.recipe.schema.base import LearningRate, Length, Lighter, RawDensity, Section
from dreamfusion_kit.recipe.schema.field.base import (
    BOUNDING_RADIUS,
    DENSITY_ACTIVATION,
    DENSITY_OFFSET,
    check_exponent,
)
from dreamfusion_kit.recipe.schema.field.density_bias import DensityBiasSection


class VoxelGridSection(Section):
    """Dense grids of density and albedo with trilinear interpolation."""

    kind: Literal["voxel_grid"] = Field(description="Dense grids, interpolated trilinearly.")
    resolution: int = Field(
        ge=2, le=512, description="Vertices per axis; memory grows with the third power."
    )
    bounding_radius: Length = Field(description=BOUNDING_RADIUS)
    density_activation: Literal["exp", "softplus"] = Field(description=DENSITY_ACTIVATION)
    density_bias: DensityBiasSection = Field(
        description="The blob that an optimisation starts from."
    )
    density_offset: RawDensity = Field(description=DENSITY_OFFSET)
    initial_albedo: float = Field(
        ge=1e-6, le=1 - 1e-6, description="The albedo everywhere at step 0, in all channels."
    )
    density_learning_rate: LearningRate = Field(description="Adam's step size for raw densities.")
    albedo_learning_rate: LearningRate = Field(description="Adam's step size for raw albedo.")
    reads_cones: ClassVar[bool] = False
    takes_turns: ClassVar[bool] = False
    numbers_per_sample: ClassVar[int] = 80  # eight rows, their weights, and seven channels

    @property
    def num_parameters(self) -> int:
        """Return one density and three albedos per vertex."""
        return 4 * self.resolution**3

    @property
    def lighter(self) -> Lighter:
        """Return keys that cost memory, with a cheaper value."""
        return {"resolution": max(2, self.resolution // 2)}

    def scaled(self, share: float) -> "VoxelGridSection":
        """Return a grid of about that share of the parameters."""
        resolution = max(2, round(self.resolution * share ** (1 / 3)))
        return self.model_copy(update={"resolution": resolution})

    @model_validator(mode="after")
    def _density_is_finite(self) -> Self:
        check_exponent(self)
        return self
