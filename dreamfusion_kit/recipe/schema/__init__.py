"""The schema of a recipe: every key of a method, with its meaning, range, unit and source.

A recipe is complete: no key has a default here, because a value that is not in a file
is not tracked. In the descriptions "DF" cites DreamFusion (arXiv 2209.14988), "Magic3D"
arXiv 2211.10440; the number that follows is the one the paper uses.
"""

from typing import Self

from pydantic import Field, model_validator

from dreamfusion_kit.recipe.schema.addition import (
    Additions,
    LoraSection,
    TextualInversionSection,
)
from dreamfusion_kit.recipe.schema.base import (
    Color,
    Count,
    Fraction,
    ImageSize,
    Length,
    Lighter,
    LinearSchedule,
    NonNegative,
    PiecewiseSchedule,
    Positive,
    Schedule,
    Section,
    Seed,
    SizeSchedule,
    SqrtSchedule,
    Steps,
    Text,
)
from dreamfusion_kit.recipe.schema.field import (
    ConeBiasSection,
    DensityBiasSection,
    FieldOrParticlesSection,
    FieldSection,
    GaussianBiasSection,
    HashGridSection,
    MipMlpSection,
    ParticlesSection,
    VoxelGridSection,
)
from dreamfusion_kit.recipe.schema.guidance import (
    NEGATIVE,
    PLAIN,
    UNCONDITIONAL,
    ClipGuidanceSection,
    CsdSection,
    GuidanceSection,
    IsmSection,
    PerpNegSection,
    PhiSection,
    RfdsRevSection,
    ScoreGuidanceSection,
    SdiSection,
    SdsSection,
    SjcSection,
    ViewPromptsSection,
    VsdSection,
    X0ReconstructionSection,
)
from dreamfusion_kit.recipe.schema.mesh import (
    AdaptiveThresholdSection,
    FixedThresholdSection,
    MeshFormat,
    MeshSection,
    ThresholdSection,
)
from dreamfusion_kit.recipe.schema.optimize import (
    AdamSection,
    DistributedShampooSection,
    LearningRateDecaySection,
    OptimizerSection,
    OptimizeSection,
    PenaltiesSection,
    WatchdogSection,
)
from dreamfusion_kit.recipe.schema.prior import (
    AnalyticSection,
    ClipPriorSection,
    FlowTransformerSection,
    LatentTransformerSection,
    LatentUnetSection,
    MixtureComponentSection,
    MultiViewUnetSection,
    PixelUnetSection,
    PriorSection,
)
from dreamfusion_kit.recipe.schema.refine import (
    DmtetSection,
    RefineOptimizeSection,
    RefineSection,
    RepresentationSection,
    SurfacePenaltiesSection,
    TextureSection,
    VertexOffsetsSection,
)
from dreamfusion_kit.recipe.schema.renderer import (
    OccupancySection,
    ProposalSection,
    RendererSection,
    UnboundedSection,
)
from dreamfusion_kit.recipe.schema.source import (
    NAMED_PATH,
    BundledSourceSection,
    FileSourceSection,
    HubMirrorSection,
    HubSourceSection,
    LocalSourceSection,
    ModelSourceSection,
    PartSourceSection,
    SourceSection,
    WeightsFileSection,
    WorkspacePath,
)
from dreamfusion_kit.recipe.schema.view import (
    BackgroundSection,
    CameraSection,
    ConstantBackgroundSection,
    LightSection,
    MlpBackgroundSection,
    ObjectViewsSection,
    PlainBackgroundSection,
    RandomBackgroundSection,
    ShadingSection,
)


class Recipe(Section):
    """A complete text-to-3D method."""

    summary: Text = Field(min_length=1, description="What the recipe is for, in one sentence.")
    prior: PriorSection = Field(description="The frozen text-to-image diffusion model.")
    guidance: GuidanceSection = Field(
        description="How prior and view become a gradient on the view."
    )
    camera: CameraSection = Field(description="Where training views are taken from.")
    light: LightSection = Field(description="Where the light of training views stands.")
    shading: ShadingSection = Field(description="Which training views are shaded, and how.")
    background: BackgroundSection = Field(description="What training views are composited over.")
    field: FieldOrParticlesSection = Field(description="What maps positions to density and albedo.")
    renderer: RendererSection = Field(description="How a field becomes an image.")
    optimize: OptimizeSection = Field(description="The optimisation loop.")
    mesh: MeshSection = Field(description="How a field becomes a textured mesh.")
    refine: RefineSection | None = Field(
        description="How that mesh is refined (Magic3D, s. 4); null leaves it as it is."
    )

    @property
    def guidances(self) -> dict[str, GuidanceSection]:
        """Return the guidance of each optimisation, by its key."""
        first: dict[str, GuidanceSection] = {"guidance": self.guidance}
        return first if self.refine is None else first | {"refine.guidance": self.refine.guidance}

    @model_validator(mode="after")
    def _cones_meet_a_field_that_knows_them(self) -> Self:
        if self.renderer.footprint == "cone" and not self.field.reads_cones:
            raise ValueError(
                f"found renderer.footprint cone with the field {self.field.kind}, expected the "
                "field mip_mlp, or the footprint point"
            )
        return self

    @model_validator(mode="after")
    def _particles_take_turns_under_adam(self) -> Self:
        if self.field.takes_turns and not self.optimize.optimizer.counts_steps_per_parameter:
            raise ValueError(
                f"found field.kind particles with the optimizer {self.optimize.optimizer.kind}, "
                "expected adam"
            )
        return self

    @model_validator(mode="after")
    def _phi_shares_plain_weights(self) -> Self:
        guidances = self.guidances.values()
        trained = next((one for one in guidances if one.adapter_rank is not None), None)
        if trained is None:
            return self
        in_blocks = self.prior.cpu_offload == "group"
        if in_blocks or getattr(self.prior, "storage_dtype", None) is not None:
            raise ValueError(
                f"found guidance.kind {trained.kind} with prior.cpu_offload group or "
                "prior.storage_dtype, expected neither: its second denoiser shares the weights as "
                "they are; set cpu_offload to true or false and storage_dtype to null"
            )
        return self

    @model_validator(mode="after")
    def _clip_goes_with_clip(self) -> Self:
        for key, guidance in self.guidances.items():
            if guidance.model != self.prior.model:
                raise ValueError(
                    f"found {key}.kind {guidance.kind} with prior.kind {self.prior.kind}, "
                    "expected clip with clip, and any other guidance with a diffusion model"
                )
        return self

    @model_validator(mode="after")
    def _both_stages_read_the_same_texts(self) -> Self:
        if self.refine is None:
            return self
        first, second = (
            (guidance.view_prompts, dict(guidance.other_texts))
            for guidance in (self.guidance, self.refine.guidance)
        )
        if first != second:
            raise ValueError(
                "found other texts in refine.guidance than in guidance, expected the same "
                "view_prompts and negative_prompt, since a prompt's features are made once"
            )
        return self

    @model_validator(mode="after")
    def _views_are_those_that_the_prior_denoises(self) -> Self:
        stages = {"camera": (self.camera, self.optimize.batch_size)}
        if self.refine is not None:
            stages["refine.camera"] = (self.refine.camera, self.refine.optimize.batch_size)
        for key, (camera, batch_size) in stages.items():
            found, needed = camera.views_per_object, self.prior.num_views
            if needed > 1 and found != needed:
                drawn = "one by one" if found == 1 else f"in groups of {found}"
                raise ValueError(
                    f"found {key} that draws views {drawn} with prior.kind {self.prior.kind}, "
                    f"which denoises {needed} views of one object together; expected "
                    f"{key}.object_views.count {needed}"
                )
            if batch_size % found:
                place = key.removesuffix("camera") + "optimize.batch_size"
                raise ValueError(
                    f"found {place} {batch_size} with {key}.object_views.count {found}, "
                    f"expected a multiple of {found}"
                )
        return self

    @model_validator(mode="after")
    def _texts_that_are_compared_are_read(self) -> Self:
        for key, guidance in self.guidances.items():
            if guidance.compares_texts and not self.prior.reads_text:
                raise ValueError(
                    f"found {key}.kind {guidance.kind} with prior.kind {self.prior.kind}, "
                    "which ignores the text, so that the gradient is always 0; expected a prior "
                    "that reads text, or the guidance sds"
                )
        return self


__all__ = [
    "NAMED_PATH",
    "NEGATIVE",
    "PLAIN",
    "UNCONDITIONAL",
    "AdamSection",
    "AdaptiveThresholdSection",
    "Additions",
    "AnalyticSection",
    "BackgroundSection",
    "BundledSourceSection",
    "CameraSection",
    "ClipGuidanceSection",
    "ClipPriorSection",
    "Color",
    "ConeBiasSection",
    "ConstantBackgroundSection",
    "Count",
    "CsdSection",
    "DensityBiasSection",
    "DistributedShampooSection",
    "DmtetSection",
    "FieldOrParticlesSection",
    "FieldSection",
    "FileSourceSection",
    "FixedThresholdSection",
    "FlowTransformerSection",
    "Fraction",
    "GaussianBiasSection",
    "GuidanceSection",
    "HashGridSection",
    "HubMirrorSection",
    "HubSourceSection",
    "ImageSize",
    "IsmSection",
    "LatentTransformerSection",
    "LatentUnetSection",
    "LearningRateDecaySection",
    "Length",
    "LightSection",
    "Lighter",
    "LinearSchedule",
    "LocalSourceSection",
    "LoraSection",
    "MeshFormat",
    "MeshSection",
    "MipMlpSection",
    "MixtureComponentSection",
    "MlpBackgroundSection",
    "ModelSourceSection",
    "MultiViewUnetSection",
    "NonNegative",
    "ObjectViewsSection",
    "OccupancySection",
    "OptimizeSection",
    "OptimizerSection",
    "PartSourceSection",
    "ParticlesSection",
    "PenaltiesSection",
    "PerpNegSection",
    "PhiSection",
    "PiecewiseSchedule",
    "PixelUnetSection",
    "PlainBackgroundSection",
    "Positive",
    "PriorSection",
    "ProposalSection",
    "RandomBackgroundSection",
    "Recipe",
    "RefineOptimizeSection",
    "RefineSection",
    "RendererSection",
    "RepresentationSection",
    "RfdsRevSection",
    "Schedule",
    "ScoreGuidanceSection",
    "SdiSection",
    "SdsSection",
    "Section",
    "Seed",
    "ShadingSection",
    "SizeSchedule",
    "SjcSection",
    "SourceSection",
    "SqrtSchedule",
    "Steps",
    "SurfacePenaltiesSection",
    "TextualInversionSection",
    "TextureSection",
    "ThresholdSection",
    "UnboundedSection",
    "VertexOffsetsSection",
    "ViewPromptsSection",
    "VoxelGridSection",
    "VsdSection",
    "WatchdogSection",
    "WeightsFileSection",
    "WorkspacePath",
    "X0ReconstructionSection",
]
