"""A multiresolution hash grid."""

import math
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from dreamfusion_kit.recipe.schema.base import (
    Count,
    Layers,
    LearningRate,
    Length,
    Lighter,
    RawDensity,
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
from dreamfusion_kit.recipe.schema.hash_table import hash_grid_parameters


class HashGridSection(Section):
    """Instant-NGP's multiresolution hash grid with a small MLP (arXiv 2201.05989)."""

    kind: Literal["hash_grid"] = Field(description="Multiresolution hash grid and a small MLP.")
    num_levels: int = Field(ge=1, le=32, description="Resolution levels L (Instant-NGP: 16).")
    features_per_level: int = Field(
        ge=1, le=64, description="Features F per level (Instant-NGP: 2)."
    )
    log2_table_size: int = Field(
        ge=4, le=24, description="log2 of the entries T of a level's table (Instant-NGP: 14 to 24)."
    )
    min_resolution: int = Field(
        ge=2, le=2**20, description="Cells per axis of the coarsest level (Instant-NGP: 16)."
    )
    max_resolution: int = Field(
        ge=2,
        le=2**20,
        description="Cells per axis of the finest level (Instant-NGP: 512 to 524288).",
    )
    initial_levels: Count = Field(description="Levels, coarsest first, in use at step 0.")
    level_every_steps: Count = Field(
        description="Coarse to fine: steps between enabling one level and the next."
    )
    hidden_width: Width = Field(description="Units of each hidden layer (Instant-NGP: 64).")
    num_hidden_layers: Layers = Field(
        description="Hidden layers of the MLP; 0 is one linear layer (Magic3D: 1)."
    )
    backend: Literal["torch", "tinycudann"] = Field(
        description="Who computes the encoding: the kit, on CUDA by Triton's kernels (torch), or "
        "tinycudann, which needs CUDA and the package."
    )
    bounding_radius: Length = Field(description=BOUNDING_RADIUS)
    density_activation: Literal["exp", "softplus"] = Field(description=DENSITY_ACTIVATION)
    density_bias: DensityBiasSection = Field(
        description="The blob that an optimisation starts from."
    )
    density_offset: RawDensity = Field(description=DENSITY_OFFSET)
    normal_epsilon: Length = Field(
        description="Step of the finite differences that give normals, scene units."
    )
    encoding_learning_rate: LearningRate = Field(
        description="Adam's step size for the hash tables."
    )
    network_learning_rate: LearningRate = Field(description="Adam's step size for the MLP.")
    reads_cones: ClassVar[bool] = False
    takes_turns: ClassVar[bool] = False

    @property
    def num_parameters(self) -> int:
        """Return the approximate parameter count of all tables and of the MLP."""
        return hash_grid_parameters(self)

    @property
    def numbers_per_sample(self) -> int:
        """Return features and hidden units, once for the sample and four times for its normal."""
        num_features = self.num_levels * self.features_per_level
        return 5 * (2 * num_features + 2 * self.num_hidden_layers * self.hidden_width)

    @property
    def lighter(self) -> Lighter:
        """Return keys that cost memory, with a cheaper value."""
        fewer = max(self.initial_levels, self.num_levels // 2)
        return {
            **({"num_levels": fewer} if fewer < self.num_levels else {}),
            "initial_levels": max(1, self.initial_levels // 2),
            "features_per_level": max(1, self.features_per_level // 2),
            "log2_table_size": max(4, self.log2_table_size - 1),
            "hidden_width": max(1, self.hidden_width // 2),
        }

    def scaled(self, share: float) -> "HashGridSection":
        """Return a grid with about that share of the parameters: fewer rows, or fewer features.

        A small number of features is kept: a sample's rows and weights cost more than they do.
        """
        features = max(min(8, self.features_per_level), round(self.features_per_level * share))
        rest = min(1.0, share * self.features_per_level / features)
        log2_table_size = max(4, self.log2_table_size + round(math.log2(rest)))
        resolution = max(self.min_resolution, round(self.max_resolution * rest ** (1 / 3)))
        return self.model_copy(
            update={
                "features_per_level": features,
                "log2_table_size": log2_table_size,
                "max_resolution": resolution,
            }
        )

    @model_validator(mode="after")
    def _density_is_finite(self) -> Self:
        check_exponent(self)
        return self

    @model_validator(mode="after")
    def _levels_fit(self) -> Self:
        if self.max_resolution < self.min_resolution:
            raise ValueError(
                f"found max_resolution {self.max_resolution} below min_resolution "
                f"{self.min_resolution}, expected it at or above"
            )
        if self.initial_levels > self.num_levels:
            raise ValueError(
                f"found initial_levels {self.initial_levels} above num_levels "
                f"{self.num_levels}, expected it at or below"
            )
        return self
