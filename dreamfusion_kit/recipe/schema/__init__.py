"""The schema of a recipe: every key of a method, with its meaning, range, unit and source.

A recipe is complete: no key has a default here, because what does not stand in a file
is not tracked. In the descriptions "DF" cites DreamFusion (arXiv 2209.14988), "Magic3D"
arXiv 2211.10440; the number after it is the one that the paper uses.
"""

from typing import Self

from pydantic import Field, model_validator

from dreamfusion_kit.recipe.schema.base import (
    Color,
    Count,
    Fraction,
    LinearSchedule,
    NonNegative,
    PiecewiseSchedule,
    Positive,
    PositiveRange,
    Range,
    Schedule,
    Section,
    SqrtSchedule,
    Steps,
)
from dreamfusion_kit.recipe.schema.field import (
    ConeBias,
    DensityBias,
    FieldOrParticles,
    FieldSection,
    GaussianBias,
    HashGridField,
    MipMlpField,
    ParticlesField,
    VoxelGridField,
)
from dreamfusion_kit.recipe.schema.guidance import (
    ClipGuidance,
    CsdGuidance,
    Guidance,
    IsmGuidance,
    PerpNeg,
    Phi,
    ScoreGuidance,
    SdsGuidance,
    SjcGuidance,
    ViewPrompts,
    VsdGuidance,
)
from dreamfusion_kit.recipe.schema.mesh import AdaptiveThreshold, FixedThreshold, Mesh, Threshold
from dreamfusion_kit.recipe.schema.optimize import (
    Adam,
    DistributedShampoo,
    LearningRateDecay,
    Optimize,
    Optimizer,
    Regularizers,
    Watchdog,
)
from dreamfusion_kit.recipe.schema.prior import (
    AnalyticPrior,
    ClipPrior,
    FlowTransformerPrior,
    HubMirror,
    HubSource,
    LatentUnetPrior,
    LocalSource,
    MixtureComponent,
    PixelUnetPrior,
    Prior,
    Source,
    WorkspacePath,
)
from dreamfusion_kit.recipe.schema.renderer import Beyond, Occupancy, Proposal, Renderer
from dreamfusion_kit.recipe.schema.view import (
    Background,
    Camera,
    ConstantBackground,
    Light,
    MlpBackground,
    PlainBackground,
    RandomBackground,
    Shading,
)


class Recipe(Section):
    """A complete text-to-3D method."""

    summary: str = Field(min_length=1, description="What the recipe is for, in one sentence.")
    prior: Prior = Field(description="The frozen text-to-image diffusion model.")
    guidance: Guidance = Field(description="How prior and view become a gradient on the view.")
    camera: Camera = Field(description="Where training views are taken from.")
    light: Light = Field(description="Where the light of training views stands.")
    shading: Shading = Field(description="Which training views are shaded, and how.")
    background: Background = Field(description="What training views are composited over.")
    field: FieldOrParticles = Field(description="What maps positions to density and albedo.")
    renderer: Renderer = Field(description="How a field becomes an image.")
    optimize: Optimize = Field(description="The optimisation loop.")
    mesh: Mesh = Field(description="How a field becomes a textured mesh.")

    @model_validator(mode="after")
    def _cones_meet_a_field_that_knows_them(self) -> Self:
        if self.renderer.footprint == "cone" and not isinstance(self.field, MipMlpField):
            raise ValueError(
                f"found renderer.footprint cone with the field {self.field.kind}, expected the "
                "field mip_mlp, or the footprint point"
            )
        return self

    @model_validator(mode="after")
    def _particles_take_turns_under_adam(self) -> Self:
        # Shampoo counts its steps for all fields together, also those that had no gradient.
        if isinstance(self.field, ParticlesField) and not isinstance(self.optimize.optimizer, Adam):
            raise ValueError(
                f"found field.kind particles with the optimizer {self.optimize.optimizer.kind}, "
                "expected adam"
            )
        return self

    @model_validator(mode="after")
    def _clip_goes_with_clip(self) -> Self:
        if isinstance(self.guidance, ClipGuidance) != isinstance(self.prior, ClipPrior):
            raise ValueError(
                f"found guidance.kind {self.guidance.kind} with prior.kind {self.prior.kind}, "
                "expected clip with clip, and any other guidance with a diffusion model"
            )
        return self


__all__ = [
    "Adam",
    "AdaptiveThreshold",
    "AnalyticPrior",
    "Background",
    "Beyond",
    "Camera",
    "ClipGuidance",
    "ClipPrior",
    "Color",
    "ConeBias",
    "ConstantBackground",
    "Count",
    "CsdGuidance",
    "DensityBias",
    "DistributedShampoo",
    "FieldOrParticles",
    "FieldSection",
    "FixedThreshold",
    "FlowTransformerPrior",
    "Fraction",
    "GaussianBias",
    "Guidance",
    "HashGridField",
    "HubMirror",
    "HubSource",
    "IsmGuidance",
    "LatentUnetPrior",
    "LearningRateDecay",
    "Light",
    "LinearSchedule",
    "LocalSource",
    "Mesh",
    "MipMlpField",
    "MixtureComponent",
    "MlpBackground",
    "NonNegative",
    "Occupancy",
    "Optimize",
    "Optimizer",
    "ParticlesField",
    "PerpNeg",
    "Phi",
    "PiecewiseSchedule",
    "PixelUnetPrior",
    "PlainBackground",
    "Positive",
    "PositiveRange",
    "Prior",
    "Proposal",
    "RandomBackground",
    "Range",
    "Recipe",
    "Regularizers",
    "Renderer",
    "Schedule",
    "ScoreGuidance",
    "SdsGuidance",
    "Section",
    "Shading",
    "SjcGuidance",
    "Source",
    "SqrtSchedule",
    "Steps",
    "Threshold",
    "ViewPrompts",
    "VoxelGridField",
    "VsdGuidance",
    "Watchdog",
    "WorkspacePath",
]
