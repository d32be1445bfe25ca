"""Fields: what maps positions to density and albedo.

Each field class states these facts, for code that combines fields or estimates their memory:

    reads_cones         whether it is queried with Gaussians, or only with their means
    takes_turns         whether each step updates only some of its parameters
    num_parameters      the numbers that are optimised
    numbers_per_sample  approximate count of numbers a step keeps per sample, normals included
    scaled              a smaller field of the same kind, to estimate the memory of a large one
    lighter             the keys that cost memory, each with a cheaper value to try
"""

import math
from typing import Annotated, ClassVar, Literal, Protocol, Self

from pydantic import Field, model_validator

from dreamfusion_kit.recipe.schema.base import (
    Count,
    Layers,
    LearningRate,
    Length,
    Lighter,
    RawDensity,
    Schedule,
    Section,
    Width,
)

BiasStage = Literal["pre", "post"]
BIAS_STAGE = "Whether it is added before (pre) or after (post) the density activation."


class GaussianBiasSection(Section):
    """DreamFusion's initial blob: scale * exp(-|x|^2 / (2 std^2)) (DF A.2)."""

    kind: Literal["gaussian"] = Field(description="A Gaussian blob at the origin.")
    stage: BiasStage = Field(description=f"{BIAS_STAGE} DF leaves it open.")
    scale: RawDensity = Field(description="Height at the origin (DF: 5).")
    std: Length = Field(description="Width of the blob, scene units (DF: 0.2).")


class ConeBiasSection(Section):
    """Magic3D's initial blob: scale * (1 - |x| / radius), negative outside (2211.10440)."""

    kind: Literal["cone"] = Field(description="A cone over the distance from the origin.")
    stage: BiasStage = Field(description=f"{BIAS_STAGE} Magic3D: pre.")
    scale: RawDensity = Field(description="Height at the origin (Magic3D: 10).")
    radius: Length = Field(description="Where the cone crosses 0, scene units (Magic3D: 0.5).")


# exp() overflows float32 at 88; a network's own output is added on top.
_MAX_EXPONENT = 60

DensityBiasSection = Annotated[GaussianBiasSection | ConeBiasSection, Field(discriminator="kind")]

# The keys that every field shares are repeated in each, so that a section can be read alone.
BOUNDING_RADIUS = "Radius of the sphere outside of which space is empty, scene units (DF A.2: 1.4)."
DENSITY_ACTIVATION = "What makes the raw density non-negative (DF A.2: exp)."
DENSITY_OFFSET = "Added to the raw density before the activation; negative makes space empty."


def _check_exponent(section: "FieldSection") -> None:
    """Refuse an initial density that is not finite in float32."""
    bias = section.density_bias.scale if section.density_bias.stage == "pre" else 0.0
    exponent = section.density_offset + max(bias, 0.0)
    if section.density_activation == "exp" and exponent > _MAX_EXPONENT:
        raise ValueError(
            f"found an initial density of exp({exponent:g}) from density_offset and "
            f"density_bias.scale, expected exp({_MAX_EXPONENT}) at most; lower them, or use the "
            "activation softplus"
        )


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
        _check_exponent(self)
        return self


class HashTables(Protocol):
    """The sizes of a hash grid and of the MLP that reads it."""

    @property
    def num_levels(self) -> int:
        """Return the number of levels."""
        ...

    @property
    def features_per_level(self) -> int:
        """Return the features per level."""
        ...

    @property
    def log2_table_size(self) -> int:
        """Return log2 of a table's entries."""
        ...

    @property
    def min_resolution(self) -> int:
        """Return the coarsest level's cells per axis."""
        ...

    @property
    def max_resolution(self) -> int:
        """Return the finest level's cells per axis."""
        ...

    @property
    def hidden_width(self) -> int:
        """Return the units of a hidden layer."""
        ...

    @property
    def num_hidden_layers(self) -> int:
        """Return the number of hidden layers."""
        ...


def hash_grid_parameters(sizes: HashTables) -> int:
    """Return the approximate parameter count of all tables and of the MLP."""
    num_features = sizes.num_levels * sizes.features_per_level
    width = sizes.hidden_width if sizes.num_hidden_layers else 4
    hidden = max(0, sizes.num_hidden_layers - 1) * width**2
    tables = round(_rows_per_level(sizes) * num_features)
    return tables + (num_features + 4) * width + hidden


def _rows_per_level(sizes: HashTables) -> float:
    """Return the mean over the levels, of which 64 stand for more (see `field.levels`)."""
    num_levels, growth = min(sizes.num_levels, 64), sizes.max_resolution / sizes.min_resolution
    sides = (
        sizes.min_resolution * growth ** (level / max(num_levels - 1, 1))
        for level in range(num_levels)
    )
    most = 2**sizes.log2_table_size
    return sum(min(math.ceil(side) ** 3, most) for side in sides) / num_levels


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
        _check_exponent(self)
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
        _check_exponent(self)
        return self


FieldSection = Annotated[
    VoxelGridSection | HashGridSection | MipMlpSection, Field(discriminator="kind")
]


class ParticlesSection(Section):
    """Several fields of one kind under one guidance: ProlificDreamer's particles."""

    kind: Literal["particles"] = Field(description="Several fields, one of them per step.")
    count: int = Field(
        ge=2,
        le=64,
        description="Fields; each step moves one, by turns, and the mesh is made of the first "
        "(ProlificDreamer: 1 to 4 in 3D).",
    )
    particle: FieldSection = Field(description="Each field; they differ in their initial values.")
    reads_cones: ClassVar[bool] = False
    takes_turns: ClassVar[bool] = True

    @property
    def num_parameters(self) -> int:
        """Return those of all fields."""
        return self.count * self.particle.num_parameters

    @property
    def numbers_per_sample(self) -> int:
        """Return those of the step's field."""
        return self.particle.numbers_per_sample

    @property
    def lighter(self) -> Lighter:
        """Return keys that cost memory, with a cheaper value."""
        inside: Lighter = {f"particle.{key}": value for key, value in self.particle.lighter.items()}
        return {"count": max(2, self.count // 2), **inside}

    def scaled(self, share: float) -> "ParticlesSection":
        """Return as many fields, each of about that share of the parameters."""
        return self.model_copy(update={"particle": self.particle.scaled(share)})


FieldOrParticlesSection = Annotated[
    VoxelGridSection | HashGridSection | MipMlpSection | ParticlesSection,
    Field(discriminator="kind"),
]
