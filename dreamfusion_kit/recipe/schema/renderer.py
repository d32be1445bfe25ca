"""The volume renderer and its occupancy grid."""

from typing import Literal

from pydantic import Field, model_validator

from dreamfusion_kit.recipe.schema.base import (
    Count,
    Fraction,
    LearningRate,
    Length,
    NonNegative,
    Positive,
    Samples,
    Schedule,
    Section,
    Steps,
    Width,
)


class OccupancySection(Section):
    """The grid that lets the renderer skip empty space (Instant-NGP, appendix C)."""

    resolution: int = Field(ge=1, le=512, description="Cells per axis over the bounding cube.")
    update_every_steps: Count = Field(
        description="Steps between two updates of the grid (Magic3D: 10)."
    )
    warmup_steps: Steps = Field(description="Steps during which everything counts as occupied.")
    decay: Fraction = Field(
        description="Factor on a cell's remembered density at each update (Magic3D: 0.6)."
    )
    density_threshold: NonNegative = Field(
        description="Density, per scene unit, above which a cell is occupied."
    )


class ProposalSection(Section):
    """A network of density alone that says where along a ray to ask (mip-NeRF 360, s. 3)."""

    num_blocks: int = Field(
        ge=1, le=64, description="Residual blocks of two layers each (mip-NeRF 360: four layers)."
    )
    hidden_width: Width = Field(description="Units of each hidden layer (mip-NeRF 360: 256).")
    num_samples: Samples = Field(
        description="Samples of the field per ray, placed by the network's weights at the "
        "recipe's other samples (mip-NeRF 360: 32 by 64)."
    )
    weight_exponent: Schedule = Field(
        description="Power of the weights that samples are drawn from; 0 spreads them evenly over "
        "the others (mip-NeRF 360: 0 to 1, half of it in a tenth of the run)."
    )
    loss_lambda: Positive = Field(
        description="Of the loss that has the network's weights bound the field's, mean over rays, "
        "on the guidance's scale (mip-NeRF 360, eq. 13: 1)."
    )
    learning_rate: LearningRate = Field(description="Step size for the network.")

    @property
    def num_parameters(self) -> int:
        """Return the approximate number of optimised parameters."""
        return 2 * self.num_blocks * self.hidden_width**2 + 100 * self.hidden_width

    @property
    def numbers_per_sample(self) -> int:
        """Return approximately how many numbers a step keeps per sample."""
        return 6 * self.num_blocks * self.hidden_width + 100


class UnboundedSection(Section):
    """How rays continue behind the bounding sphere, evenly in 1 / distance (mip-NeRF 360, s. 3)."""

    num_samples: Samples = Field(description="Samples per ray behind the sphere.")
    far: Length = Field(description="Distance from the camera at which rays end, scene units.")
    proposal: ProposalSection | None = Field(
        description="A network that is asked about the samples inside and behind the sphere, and "
        "chooses the field's own; null asks the field about all of them."
    )


class RendererSection(Section):
    """Emission-absorption volume rendering (NeRF eq. 3)."""

    num_samples: Samples = Field(
        description="Samples per ray over the longest way through the bounding sphere."
    )
    jitter: bool = Field(description="Whether training samples move at random in their interval.")
    near: NonNegative = Field(
        description="Distance from the camera, scene units, before which nothing is sampled."
    )
    footprint: Literal["point", "cone"] = Field(
        description="What a sample asks the field about: a point (DF), or the frustum of its "
        "pixel's cone as a Gaussian (mip-NeRF, eq. 8); cones need a mip_mlp and no jitter."
    )
    beyond: UnboundedSection | None = Field(
        description="Samples behind the bounding sphere, for fields in contracted space; null ends "
        "rays at the sphere (DF)."
    )
    occupancy: OccupancySection = Field(description="How empty space is found and skipped.")

    @property
    def proposal(self) -> ProposalSection | None:
        """Return the network that chooses the field's samples, if there is one."""
        return None if self.beyond is None else self.beyond.proposal

    @property
    def samples_per_ray(self) -> int:
        """Return the recipe's own samples per ray, inside the sphere and behind it."""
        return self.num_samples + (0 if self.beyond is None else self.beyond.num_samples)

    @property
    def field_samples_per_ray(self) -> int:
        """Return how often the field is queried per ray."""
        return self.samples_per_ray if self.proposal is None else self.proposal.num_samples

    @model_validator(mode="after")
    def _a_cone_fills_its_interval(self) -> "RendererSection":
        if self.footprint == "cone" and self.jitter:
            raise ValueError(
                "found jitter with the footprint cone, expected jitter: false, since a cone's "
                "samples have no place in their interval that could move"
            )
        return self

    @model_validator(mode="after")
    def _proposals_are_cones(self) -> "RendererSection":
        if self.footprint == "point" and self.beyond is not None and self.beyond.proposal:
            raise ValueError(
                "found beyond.proposal with the footprint point, expected the footprint cone: "
                "pieces of unequal length are asked about as frustums"
            )
        return self
