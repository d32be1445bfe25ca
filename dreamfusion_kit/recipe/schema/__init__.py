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
from dreamfusion_kit.recipe.schema.material import (
    FixedValueSection,
    GridValueSection,
    LearnedValueSection,
    MaterialSection,
    MaterialValueSection,
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
    FlexicubesSection,
    GridTextureSection,
    HashGridTextureSection,
    Part,
    RefineOptimizeSection,
    RefinePhaseSection,
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
    def bounding_radius(self) -> float:
        """Return the radius of the ball that holds the object, scene units."""
        field = self.field.particle if isinstance(self.field, ParticlesSection) else self.field
        return field.bounding_radius

    @property
    def guidances(self) -> dict[str, GuidanceSection]:
        """Return the guidance of each optimisation, by its key."""
        phases = () if self.refine is None else self.refine.phases
        numbered = {f"refine.phases[{index}]": phase for index, phase in enumerate(phases)}
        later = {f"{name}.guidance": phase.guidance for name, phase in numbered.items()}
        return {"guidance": self.guidance, **later}

    def prior_key(self, key: str) -> str:
        """Return the key of the prior that the guidance at `key` asks."""
        own = key != "guidance" and self.refine is not None and self.refine.prior is not None
        return "refine.prior" if own else "prior"

    def prior_of(self, key: str) -> PriorSection:
        """Return the prior that the guidance at `key` asks."""
        own = None if self.refine is None or key == "guidance" else self.refine.prior
        return self.prior if own is None else own

    def phi_of(self, key: str) -> PriorSection | None:
        """Return the other model whose network the guidance at `key` trains as phi, if any."""
        source, prior = self.guidances[key].phi_source, self.prior_of(key)
        if source is None or not isinstance(prior, LatentUnetSection):
            return None
        plain: dict[str, object] = {"vae": None, "loras": (), "textual_inversions": ()}
        return prior.model_copy(update={"source": source, **plain})

    @property
    def models(self) -> dict[str, PriorSection]:
        """Return every model by its key: `prior`, `refine.prior` or a guidance's with `.phi`."""
        priors = {self.prior_key(key): self.prior_of(key) for key in self.guidances}
        phis = {f"{key}.phi": self.phi_of(key) for key in self.guidances}
        return priors | {key: phi for key, phi in phis.items() if phi is not None}

    @property
    def text_keys(self) -> list[str]:
        """Return the guidances whose texts are embedded: `guidance`, and those that differ."""
        return list(dict.fromkeys(map(self.text_key, self.guidances)))

    def text_key(self, key: str) -> str:
        """Return the first guidance that reads the texts which the one at `key` reads."""
        return next(other for other in self.guidances if self._texts(other) == self._texts(key))

    def _texts(self, key: str) -> tuple[object, ...]:
        one = self.guidances[key]
        return (self.prior_of(key), one.view_prompts.words, one.other_texts, one.plain_prompt)

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
        for key, guidance in self.guidances.items():
            prior = self.prior_of(key)
            in_blocks = prior.cpu_offload == "group"
            stored = getattr(prior, "storage_dtype", None) is not None
            if guidance.adapter_rank is not None and (in_blocks or stored):
                raise ValueError(
                    f"found {key}.kind {guidance.kind} with {self.prior_key(key)}.cpu_offload "
                    f"group or {self.prior_key(key)}.storage_dtype, expected neither: its second "
                    "denoiser shares the weights as they are; set cpu_offload to true or false and "
                    "storage_dtype to null"
                )
        return self

    @model_validator(mode="after")
    def _phi_of_another_network_is_a_latent_unet(self) -> Self:
        for key, guidance in self.guidances.items():
            prior = self.prior_of(key)
            if guidance.phi_source is not None and not isinstance(prior, LatentUnetSection):
                raise ValueError(
                    f"found {key}.phi.source with {self.prior_key(key)}.kind {prior.kind}, "
                    "expected null: only a latent_unet can train another network's weights"
                )
        return self

    @model_validator(mode="after")
    def _clip_goes_with_clip(self) -> Self:
        for key, guidance in self.guidances.items():
            prior = self.prior_of(key)
            if guidance.model != prior.model:
                raise ValueError(
                    f"found {key}.kind {guidance.kind} with {self.prior_key(key)}.kind "
                    f"{prior.kind}, expected clip with clip, and any other guidance with a "
                    "diffusion model"
                )
        return self

    @model_validator(mode="after")
    def _views_are_those_that_the_prior_denoises(self) -> Self:
        stages = {"guidance": ("", self.camera, self.optimize.batch_size)}
        for index, phase in enumerate(() if self.refine is None else self.refine.phases):
            place = f"refine.phases[{index}]."
            stages[f"{place}guidance"] = (place, phase.camera, phase.optimize.batch_size)
        for key, (place, camera, batch_size) in stages.items():
            prior, found = self.prior_of(key), camera.views_per_object
            if prior.num_views > 1 and found != prior.num_views:
                drawn = "one by one" if found == 1 else f"in groups of {found}"
                raise ValueError(
                    f"found {place}camera that draws views {drawn} with {self.prior_key(key)}.kind "
                    f"{prior.kind}, which denoises {prior.num_views} views of one object together; "
                    f"expected {place}camera.object_views.count {prior.num_views}"
                )
            if batch_size % found:
                raise ValueError(
                    f"found {place}optimize.batch_size {batch_size} with "
                    f"{place}camera.object_views.count {found}, expected a multiple of {found}"
                )
        return self

    @model_validator(mode="after")
    def _texts_that_are_compared_are_read(self) -> Self:
        for key, guidance in self.guidances.items():
            prior = self.prior_of(key)
            if guidance.compares_texts and not prior.reads_text:
                raise ValueError(
                    f"found {key}.kind {guidance.kind} with {self.prior_key(key)}.kind "
                    f"{prior.kind}, which ignores the text, so that the gradient is always 0; "
                    "expected a prior that reads text, or the guidance sds"
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
    "FixedValueSection",
    "FlexicubesSection",
    "FlowTransformerSection",
    "Fraction",
    "GaussianBiasSection",
    "GridTextureSection",
    "GridValueSection",
    "GuidanceSection",
    "HashGridSection",
    "HashGridTextureSection",
    "HubMirrorSection",
    "HubSourceSection",
    "ImageSize",
    "IsmSection",
    "LatentTransformerSection",
    "LatentUnetSection",
    "LearnedValueSection",
    "LearningRateDecaySection",
    "Length",
    "LightSection",
    "Lighter",
    "LinearSchedule",
    "LocalSourceSection",
    "LoraSection",
    "MaterialSection",
    "MaterialValueSection",
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
    "Part",
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
    "RefinePhaseSection",
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
