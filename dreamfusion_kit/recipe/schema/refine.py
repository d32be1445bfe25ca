"""The second stage: a surface that starts from the coarse field (Magic3D, s. 4).

It has one phase or several, each an optimisation of its own that starts from the surface which the
one before it left: Magic3D learns shape and colour at once, ProlificDreamer and Fantasia3D learn
the shape first and then the colour.
"""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from dreamfusion_kit.recipe.schema.base import (
    Count,
    Fraction,
    Lighter,
    Positive,
    Schedule,
    Section,
    peak_of,
)
from dreamfusion_kit.recipe.schema.guidance import GuidanceSection
from dreamfusion_kit.recipe.schema.material import MaterialSection, MaterialValueSection
from dreamfusion_kit.recipe.schema.optimize import (
    LearningRateDecaySection,
    OptimizerSection,
    WatchdogSection,
)
from dreamfusion_kit.recipe.schema.prior import PriorSection
from dreamfusion_kit.recipe.schema.representation import RepresentationSection
from dreamfusion_kit.recipe.schema.texture import TextureSection
from dreamfusion_kit.recipe.schema.view import CameraSection, ShadingSection

Part = Literal["geometry", "texture"]


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
