"""The second stage: a surface that starts from the coarse field (Magic3D, s. 4).

It has one phase or several, each an optimisation of its own that starts from the surface which the
one before it left: Magic3D learns shape and colour at once, ProlificDreamer and Fantasia3D learn
the shape first and then the colour.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from dreamfusion_kit.recipe.schema.base import (
    Count,
    Fraction,
    Layers,
    LearningRate,
    Lighter,
    Positive,
    Schedule,
    Section,
    Width,
    peak_of,
)
from dreamfusion_kit.recipe.schema.field import hash_grid_parameters
from dreamfusion_kit.recipe.schema.guidance import GuidanceSection
from dreamfusion_kit.recipe.schema.material import MaterialSection, MaterialValueSection
from dreamfusion_kit.recipe.schema.optimize import (
    LearningRateDecaySection,
    OptimizerSection,
    WatchdogSection,
)
from dreamfusion_kit.recipe.schema.prior import PriorSection
from dreamfusion_kit.recipe.schema.view import CameraSection, ShadingSection

Part = Literal["geometry", "texture"]


class LatticeSection(Section):
    """Signed distances on a lattice; the surface may change its topology."""

    max_start_faces: ClassVar[int | None] = None  # all: the surface is read once

    @property
    def num_cell_weights(self) -> int:
        """Return how many numbers the cells have beside the points' distances."""
        return 0

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


class DmtetSection(LatticeSection):
    """Marching tetrahedra on a lattice (DMTet, arXiv 2111.04276)."""

    kind: Literal["dmtet"] = Field(description="Marching tetrahedra.")


class FlexicubesSection(LatticeSection):
    """Weighted dual marching cubes on a lattice (FlexiCubes, arXiv 2308.05371)."""

    kind: Literal["flexicubes"] = Field(description="Weighted dual marching cubes.")
    weight_learning_rate: float = Field(
        ge=0,
        le=10,
        description="Step size of the cells' weights alpha, beta and gamma, before their tanh; 0 "
        "keeps them at 1, which is plain dual marching cubes.",
    )
    deviation_lambda: float = Field(
        ge=0,
        le=1e6,
        description="Of how unevenly a vertex lies among the crossings of its cell, in cells "
        "(L_dev).",
    )
    WEIGHTS_PER_CELL: ClassVar[int] = 8 + 12 + 1  # alpha of corners, beta of edges, gamma

    @property
    def num_cell_weights(self) -> int:
        """Return how many weights are optimised."""
        if self.weight_learning_rate == 0:
            return 0
        return self.WEIGHTS_PER_CELL * (self.resolution - 1) ** 3


class VertexOffsetsSection(Section):
    """Offsets of the coarse mesh's own vertices; the topology stays."""

    kind: Literal["vertex_offsets"] = Field(description="The coarse surface, moved.")
    max_faces: int = Field(ge=4, le=10**7, description="Triangles of the moved surface, at most.")
    learning_rate: LearningRate = Field(description="Step size of the offsets, scene units.")
    smoothing_lambda: float = Field(
        ge=0,
        le=1e6,
        description="How far a step spreads over neighbouring vertices: lambda of "
        '"Large Steps in Inverse Rendering" (Nicolet et al. 2021: 10 to 100); 0 spreads none.',
    )
    lattice_resolution: ClassVar[int] = 0  # there is none
    num_cell_weights: ClassVar[int] = 0

    @property
    def max_start_faces(self) -> int:
        """Return how many triangles the coarse surface may keep."""
        return self.max_faces

    @property
    def lighter(self) -> Lighter:
        """Return the keys that cost memory, each with a cheaper value to try."""
        return {"max_faces": max(4, self.max_faces // 2)}


RepresentationSection = Annotated[
    DmtetSection | FlexicubesSection | VertexOffsetsSection, Field(discriminator="kind")
]


class GridTextureSection(Section):
    """A grid of albedo around the surface, which starts with the coarse field's."""

    kind: Literal["grid"] = Field(description="A dense grid, trilinear between its points.")
    resolution: int = Field(ge=8, le=512, description="Grid points per axis.")
    learning_rate: LearningRate = Field(description="Step size of the raw albedo.")

    @property
    def num_parameters(self) -> int:
        """Return the numbers that are optimised."""
        return 3 * self.resolution**3

    @property
    def lattice_resolution(self) -> int:
        """Return the points per axis at which the coarse colours are asked for."""
        return self.resolution

    @property
    def lighter(self) -> Lighter:
        """Return the keys that cost memory, each with a cheaper value to try."""
        return {"resolution": max(8, self.resolution // 2)}


class HashGridTextureSection(Section):
    """A hash grid and a small MLP (Instant-NGP), finer than a dense grid can be."""

    kind: Literal["hash_grid"] = Field(description="Multiresolution hash grid and a small MLP.")
    start_resolution: int | None = Field(
        ge=8,
        le=512,
        description="Grid points per axis of the coarse field's colours, which stay beneath and "
        "which the hash grid changes; null begins with grey (ProlificDreamer).",
    )
    num_levels: int = Field(ge=1, le=32, description="Resolution levels (ProlificDreamer: 16).")
    features_per_level: int = Field(
        ge=1, le=64, description="Features per level (ProlificDreamer: 2)."
    )
    log2_table_size: int = Field(
        ge=4, le=24, description="log2 of the entries of a level's table (ProlificDreamer: 19)."
    )
    min_resolution: int = Field(
        ge=2, le=2**20, description="Cells per axis of the coarsest level (ProlificDreamer: 16)."
    )
    max_resolution: int = Field(
        ge=2, le=2**20, description="Cells per axis of the finest level (ProlificDreamer: 4096)."
    )
    hidden_width: Width = Field(description="Units of each hidden layer (ProlificDreamer: 64).")
    num_hidden_layers: Layers = Field(
        description="Hidden layers of the MLP; 0 is one linear layer (ProlificDreamer: 1)."
    )
    backend: Literal["torch", "tinycudann"] = Field(
        description="Who computes the encoding: the kit, on CUDA by Triton's kernels (torch), or "
        "tinycudann, which needs CUDA and the package."
    )
    encoding_learning_rate: LearningRate = Field(
        description="Adam's step size for the hash tables (ProlificDreamer: 0.01)."
    )
    network_learning_rate: LearningRate = Field(
        description="Adam's step size for the MLP (ProlificDreamer: 0.001)."
    )

    @model_validator(mode="after")
    def _resolutions_are_ordered(self) -> Self:
        if self.min_resolution > self.max_resolution:
            raise ValueError(
                f"found min_resolution {self.min_resolution} and max_resolution "
                f"{self.max_resolution}, expected min_resolution at or below max_resolution"
            )
        return self

    @property
    def num_parameters(self) -> int:
        """Return the numbers that are optimised, approximately."""
        return hash_grid_parameters(self)

    @property
    def lattice_resolution(self) -> int:
        """Return the points per axis at which the coarse colours are asked for; 0 for none."""
        return self.start_resolution or 0

    @property
    def lighter(self) -> Lighter:
        """Return the keys that cost memory, each with a cheaper value to try."""
        return {
            "num_levels": max(1, self.num_levels // 2),
            "log2_table_size": max(4, self.log2_table_size - 1),
            "hidden_width": max(1, self.hidden_width // 2),
        }


TextureSection = Annotated[GridTextureSection | HashGridTextureSection, Field(discriminator="kind")]


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
    optimizer: OptimizerSection = Field(description="What turns gradients into steps.")
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


class RefinePhaseSection(Section):
    """One optimisation of the surface; its schedules count steps from its own first."""

    learns: Literal["both", "geometry", "texture"] = Field(
        description="What it changes, while the rest stays as it is (Magic3D: both; "
        "ProlificDreamer, Fantasia3D: geometry, then texture)."
    )
    guidance: GuidanceSection = Field(
        description="How prior and view become a gradient on the view (Magic3D: timestep_max 0.5)."
    )
    camera: CameraSection = Field(
        description="Where training views are taken from; closer, by longer focal lengths."
    )
    shading: ShadingSection = Field(description="Which training views are shaded, and how.")
    normal_map_probability: Fraction = Field(
        description="Share of views that show normals as colours (Fantasia3D, arXiv 2303.13873; "
        "ProlificDreamer: 1 for the geometry, 0 for the texture)."
    )
    supersampling: int = Field(
        ge=1, le=8, description="Rays per pixel and axis of a training view."
    )
    optimize: RefineOptimizeSection = Field(description="The optimisation loop.")
    _PARTS: ClassVar[dict[str, frozenset[Part]]] = {
        "both": frozenset(("geometry", "texture")),
        "geometry": frozenset(("geometry",)),
        "texture": frozenset(("texture",)),
    }

    @property
    def parts(self) -> frozenset[Part]:
        """Return the parts that the phase changes."""
        return self._PARTS[self.learns]

    @property
    def shows_highlights(self) -> bool:
        """Return whether some view that the texture learns from is lit by the point light."""
        shading = self.shading
        return (
            "texture" in self.parts
            and shading.albedo_only_steps < self.optimize.num_steps
            and shading.shaded_probability > 0
            and shading.textureless_probability < 1
            and shading.diffuse > 0
        )

    @model_validator(mode="after")
    def _every_view_teaches_what_is_learned(self) -> Self:
        shows_none = self.normal_map_probability == 1.0
        if self.learns == "texture" and self.normal_map_probability > 0:
            raise ValueError(
                f"found learns texture with normal_map_probability {self.normal_map_probability:g}"
                ", expected 0: normals have no texture"
            )
        if self.learns == "texture" and self.shading.textureless_probability > 0:
            raise ValueError(
                "found learns texture with shading.textureless_probability "
                f"{self.shading.textureless_probability:g}, expected 0: such a view has no texture"
            )
        if self.learns == "both" and shows_none:
            raise ValueError(
                "found learns both with normal_map_probability 1, expected less, or learns "
                "geometry: normals have no texture"
            )
        return self

    @model_validator(mode="after")
    def _penalties_are_on_what_is_learned(self) -> Self:
        if "geometry" in self.parts:
            return self
        penalties = self.optimize.penalties
        for name in type(penalties).model_fields:
            if peak_of(getattr(penalties, name)) > 0:
                raise ValueError(
                    f"found learns {self.learns} with optimize.penalties.{name} above 0, "
                    "expected 0: the shape does not change"
                )
        return self


class RefineSection(Section):
    """How a coarse field's surface is refined; light and background are the recipe's own."""

    prior: PriorSection | None = Field(
        description="A frozen model of this stage's own (Magic3D: eDiff-I before, Stable Diffusion "
        "here); null for the recipe's prior."
    )
    representation: RepresentationSection = Field(description="What describes the surface.")
    texture: TextureSection = Field(description="What colours it.")
    material: MaterialSection | None = Field(
        description="How it reflects beside its colour, learned with the texture under the views' "
        "lights; null for Lambertian shading, roughness 1 and metallic 0."
    )
    phases: tuple[RefinePhaseSection, ...] = Field(
        min_length=1,
        max_length=16,
        description="Optimisations one after the other, each from where the one before it ended.",
    )

    @model_validator(mode="after")
    def _some_view_teaches_the_material(self) -> Self:
        if self.material is None or any(phase.shows_highlights for phase in self.phases):
            return self
        for name in ("roughness", "metallic"):
            value: MaterialValueSection = getattr(self.material, name)
            if value.num_parameters:
                raise ValueError(
                    f"found material.{name}.kind {value.kind} without a view that shows "
                    "highlights, expected fixed; or a phase that learns both or texture, whose "
                    "shading has shaded_probability and diffuse above 0, textureless_probability "
                    "below 1 and fewer albedo_only_steps than num_steps"
                )
        return self

    @property
    def num_steps(self) -> int:
        """Return the steps of all phases."""
        return sum(phase.optimize.num_steps for phase in self.phases)

    def phase_at(self, step: int) -> tuple[int, int]:
        """Return the index of the phase that a step counted over all falls in, and its own step."""
        for index, phase in enumerate(self.phases):
            if step < phase.optimize.num_steps:
                return index, step
            step -= phase.optimize.num_steps
        raise ValueError(f"found a step {step} beyond the last of {self.num_steps}")

    @property
    def lighter(self) -> Lighter:
        """Return the keys of surface and texture that cost memory, with a cheaper value to try."""
        shape = {
            f"representation.{key}": value for key, value in self.representation.lighter.items()
        }
        shape |= {f"texture.{key}": value for key, value in self.texture.lighter.items()}
        if self.material is None:
            return shape
        return shape | {f"material.{key}": value for key, value in self.material.lighter.items()}

    @property
    def num_appearance_parameters(self) -> int:
        """Return the numbers of texture and material that are optimised."""
        material = 0 if self.material is None else self.material.num_parameters
        return self.texture.num_parameters + material
