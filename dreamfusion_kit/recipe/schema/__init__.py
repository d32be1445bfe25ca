"""The schema of a recipe: every key of a method, with its meaning, range, unit and source.

A recipe is complete: no key has a default here, because what does not stand in a file
is not tracked. In the descriptions "DF" cites DreamFusion (arXiv 2209.14988), "Magic3D"
arXiv 2211.10440; the number after it is the one that the paper uses.
"""

from pydantic import Field

from dreamfusion_kit.recipe.schema.base import (
    Color,
    Count,
    Fraction,
    LinearSchedule,
    NonNegative,
    Positive,
    PositiveRange,
    Range,
    Schedule,
    Section,
    Steps,
)
from dreamfusion_kit.recipe.schema.field import (
    ConeBias,
    DensityBias,
    FieldSection,
    GaussianBias,
    HashGridField,
    VoxelGridField,
)
from dreamfusion_kit.recipe.schema.guidance import Guidance, SdsGuidance, ViewPrompts
from dreamfusion_kit.recipe.schema.mesh import AdaptiveThreshold, FixedThreshold, Mesh, Threshold
from dreamfusion_kit.recipe.schema.optimize import (
    Adam,
    LearningRateDecay,
    Optimize,
    Regularizers,
    Watchdog,
)
from dreamfusion_kit.recipe.schema.prior import (
    AnalyticPrior,
    FlowTransformerPrior,
    HubMirror,
    HubSource,
    LatentUnetPrior,
    LocalSource,
    MixtureComponent,
    PixelUnetPrior,
    Prior,
    Source,
)
from dreamfusion_kit.recipe.schema.renderer import Occupancy, Renderer
from dreamfusion_kit.recipe.schema.view import (
    Background,
    Camera,
    ConstantBackground,
    Light,
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
    field: FieldSection = Field(description="What maps positions to density and albedo.")
    renderer: Renderer = Field(description="How a field becomes an image.")
    optimize: Optimize = Field(description="The optimisation loop.")
    mesh: Mesh = Field(description="How a field becomes a textured mesh.")


__all__ = [
    "Adam",
    "AdaptiveThreshold",
    "AnalyticPrior",
    "Background",
    "Camera",
    "Color",
    "ConeBias",
    "ConstantBackground",
    "Count",
    "DensityBias",
    "FieldSection",
    "FixedThreshold",
    "FlowTransformerPrior",
    "Fraction",
    "GaussianBias",
    "Guidance",
    "HashGridField",
    "HubMirror",
    "HubSource",
    "LatentUnetPrior",
    "LearningRateDecay",
    "Light",
    "LinearSchedule",
    "LocalSource",
    "Mesh",
    "MixtureComponent",
    "NonNegative",
    "Occupancy",
    "Optimize",
    "PixelUnetPrior",
    "Positive",
    "PositiveRange",
    "Prior",
    "RandomBackground",
    "Range",
    "Recipe",
    "Regularizers",
    "Renderer",
    "Schedule",
    "SdsGuidance",
    "Section",
    "Shading",
    "Source",
    "Steps",
    "Threshold",
    "ViewPrompts",
    "VoxelGridField",
    "Watchdog",
]
