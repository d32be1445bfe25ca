"""The second stage: a surface that starts from the coarse field (Magic3D, s. 4)."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from dreamfusion_kit.recipe.schema.base import (
    Count,
    Fraction,
    LearningRate,
    Lighter,
    Positive,
    Schedule,
    Section,
)
from dreamfusion_kit.recipe.schema.guidance import GuidanceSection
from dreamfusion_kit.recipe.schema.optimize import (
    LearningRateDecaySection,
    OptimizerSection,
    WatchdogSection,
)
from dreamfusion_kit.recipe.schema.view import CameraSection, ShadingSection


class DmtetSection(Section):
    """Signed distances on a lattice, and marching tetrahedra (DMTet, arXiv 2111.04276)."""

    kind: Literal["dmtet"] = Field(description="The surface may change its topology.")
    resolution: int = Field(
        ge=8, le=512, description="Lattice points per axis over the bounding ball (Magic3D: 256)."
    )
    num_levels: int = Field(
        ge=1,
        le=8,
        description="Grids whose sum changes the distances, each half as fine as the next; more "
        "move larger parts as one. 1 is the paper's single grid.",
    )
    learning_rate: LearningRate = Field(
        description="Step size of the coarsest grid, scene units (Magic3D does not say)."
    )
    level_decay: Positive = Field(
        le=1.0, description="Factor on the step size from one grid to the next finer one."
    )
    offset_learning_rate: float = Field(
        ge=0,
        le=10,
        description="Step size of the lattice points' offsets, in half cells; 0 keeps the lattice.",
    )

    @property
    def lattice_resolution(self) -> int:
        """Return the lattice points per axis."""
        return self.resolution

    @property
    def lighter(self) -> Lighter:
        """Return the keys that cost memory, each with a cheaper value to try."""
        return {"resolution": max(8, self.resolution // 2)}


class VertexOffsetsSection(Section):
    """Offsets of the coarse mesh's own vertices; the topology stays."""

    kind: Literal["vertex_offsets"] = Field(description="The coarse surface, moved.")
    max_faces: int = Field(ge=4, le=10**7, description="Triangles of the moved surface, at most.")
    learning_rate: LearningRate = Field(description="Step size of the offsets, scene units.")
    lattice_resolution: ClassVar[int] = 0  # there is none

    @property
    def lighter(self) -> Lighter:
        """Return the keys that cost memory, each with a cheaper value to try."""
        return {"max_faces": max(4, self.max_faces // 2)}


RepresentationSection = Annotated[DmtetSection | VertexOffsetsSection, Field(discriminator="kind")]


class TextureSection(Section):
    """A grid of albedo around the surface, which starts with the coarse field's."""

    resolution: int = Field(ge=8, le=512, description="Grid points per axis.")
    learning_rate: LearningRate = Field(description="Step size of the raw albedo.")


class SurfacePenaltiesSection(Section):
    """Multipliers of the losses beside the guidance; each may be a schedule."""

    normal_consistency_lambda: Schedule = Field(
        description="Of 1 - cosine between neighbouring faces, mean by length of edge."
    )
    laplacian_lambda: Schedule = Field(
        description="Of the squared distance of vertices from the middle of their neighbours, in "
        "mean squared edges."
    )
    edge_length_lambda: Schedule = Field(
        description="Of the variance of the edges' lengths over their squared mean."
    )


class RefineOptimizeSection(Section):
    """The optimisation of the surface."""

    num_steps: int = Field(ge=1, le=10**7, description="Optimiser steps (Magic3D: 3000).")
    batch_size: int = Field(ge=1, le=1024, description="Views per step (Magic3D: 32).")
    optimizer: OptimizerSection = Field(description="Who turns gradients into steps.")
    learning_rate_decay: LearningRateDecaySection = Field(
        description="Course of all learning rates over the run."
    )
    max_gradient_norm: Positive | None = Field(
        description="Norm of the gradient of all parameters above which it is scaled down to it; "
        "null clips nothing."
    )
    penalties: SurfacePenaltiesSection = Field(description="Losses beside the guidance.")
    checkpoint_every_steps: Count = Field(description="Steps between two checkpoints.")
    preview_every_steps: Count = Field(description="Steps between two preview images.")
    watchdog: WatchdogSection = Field(description="When to stop a run that is dead.")

    @model_validator(mode="after")
    def _warmup_ends(self) -> Self:
        warmup = self.learning_rate_decay.warmup_steps
        if warmup >= self.num_steps:
            raise ValueError(
                f"found learning_rate_decay.warmup_steps {warmup} and num_steps "
                f"{self.num_steps}, expected the warm-up to be shorter"
            )
        return self


class RefineSection(Section):
    """How a coarse field's surface is refined; light and background are the recipe's own."""

    representation: RepresentationSection = Field(description="What describes the surface.")
    texture: TextureSection = Field(description="What colours it.")
    guidance: GuidanceSection = Field(
        description="How prior and view become a gradient on the view (Magic3D: timestep_max 0.5)."
    )
    camera: CameraSection = Field(
        description="Where training views are taken from; closer, by longer focal lengths."
    )
    shading: ShadingSection = Field(description="Which training views are shaded, and how.")
    normal_map_probability: Fraction = Field(
        description="Share of views that show normals as colours (Fantasia3D, arXiv 2303.13873)."
    )
    supersampling: int = Field(
        ge=1, le=8, description="Rays per pixel and axis of a training view."
    )
    optimize: RefineOptimizeSection = Field(description="The optimisation loop.")

    @property
    def lighter(self) -> Lighter:
        """Return the keys of surface and texture that cost memory, with the value to try next."""
        shape = {
            f"representation.{key}": value for key, value in self.representation.lighter.items()
        }
        return {**shape, "texture.resolution": max(8, self.texture.resolution // 2)}
