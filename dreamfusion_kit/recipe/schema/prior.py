"""The priors: frozen text-to-image diffusion models.

Each prior class states these facts, for code that prepares, sizes or checks a prior:

    source         where its pretrained files come from; None without any
    folders        which of its components stay in memory while a field is optimised
    model          what a guidance can ask it for
    reads_text     whether its predictions depend on the text
    cpu_offload    whether the denoiser is kept in main memory between two predictions
    additions      what is added to its pretrained files, by the recipe's own key
    num_views      how many views of one object it denoises together; 1 for all kinds but one
    lighter        the keys that cost memory, each with a cheaper value to try
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from dreamfusion_kit.recipe.schema.addition import (
    Additions,
    Loras,
    LoraSection,
    OtherVae,
    TextualInversions,
    TextualInversionSection,
)
from dreamfusion_kit.recipe.schema.base import (
    Color,
    ImageSize,
    Lighter,
    Positive,
    Section,
)
from dreamfusion_kit.recipe.schema.source import (
    DenoiserSourceSection,
    ModelSourceSection,
    PartSourceSection,
    SourceSection,
    ViewWeightsSection,
)

Offload = Annotated[
    bool | Literal["group"],
    Field(
        description="Keep the denoiser in main memory and move it in for each prediction: whole "
        "(true), or block by block (group), which needs the least memory and the most time."
    ),
]
StorageDtype = Annotated[
    Literal["float8_e4m3fn"] | None,
    Field(
        description="Number format in which the denoiser's large layers wait, converted to dtype "
        "one by one as they compute; null for dtype itself. Halves the weights; results differ."
    ),
]
# What a guidance asks for: a diffusion model's score, or a CLIP's likeness of image and text.
Model = Literal["diffusion", "clip"]


class PixelUnetSection(Section):
    """A pixel-space U-Net in diffusers format, as Imagen's 64 px base model is (DF s. 2.1)."""

    kind: Literal["pixel_unet"] = Field(description="A pixel-space diffusion U-Net.")
    source: DenoiserSourceSection = Field(description="Where the diffusers directory comes from.")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        description="Number format the U-Net computes in."
    )
    image_size_px: ImageSize = Field(
        description="Side of the images the U-Net was trained on, in pixels (DF: 64)."
    )
    folders: ClassVar[tuple[str, ...]] = ("unet",)
    model: ClassVar[Model] = "diffusion"
    reads_text: ClassVar[bool] = True
    num_views: ClassVar[int] = 1
    cpu_offload: ClassVar[bool] = False
    additions: ClassVar[Additions] = {}

    @property
    def lighter(self) -> Lighter:
        """Return keys that cost memory, with a cheaper value."""
        return {"dtype": "bfloat16"} if self.dtype == "float32" else {}


class LatentUnetSection(Section):
    """A U-Net on VAE latents: Stable Diffusion 1.5, 2.1-base or SDXL (Rombach et al. 2022)."""

    kind: Literal["latent_unet"] = Field(description="A latent diffusion U-Net.")
    source: ModelSourceSection = Field(
        description="Where the diffusers directory, or a single file, comes from."
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        description="Number format the U-Net computes in."
    )
    vae_dtype: Literal["float32", "bfloat16", "float16"] = Field(
        description="Number format of the VAE's encoder; SDXL's overflows float16."
    )
    image_size_px: ImageSize = Field(
        description="Side that renders are resized to before encoding, in pixels (SD: 512)."
    )
    cpu_offload: Offload
    storage_dtype: StorageDtype
    vae: OtherVae
    loras: Loras
    textual_inversions: TextualInversions
    long_prompts: Literal["refuse", "chunk"] = Field(
        description="What happens to prompts beyond the tokenizer's 77 tokens: refused, or read in "
        "chunks of 75 whose features stand one after the other. Nothing is ever cut off."
    )
    folders: ClassVar[tuple[str, ...]] = ("unet", "vae")
    model: ClassVar[Model] = "diffusion"
    reads_text: ClassVar[bool] = True
    num_views: ClassVar[int] = 1

    @property
    def additions(self) -> Additions:
        """Return the sources of what is added, by key."""
        return _additions(self.vae, self.loras, self.textual_inversions)

    @property
    def lighter(self) -> Lighter:
        """Return keys that cost memory, with a cheaper value."""
        return _lighter_latent_prior(self)


class MultiViewUnetSection(Section):
    """A U-Net that denoises several views of one object together (MVDream, arXiv 2308.16512).

    Either MVDream's own, or a single-view U-Net with `view_weights`.
    """

    kind: Literal["multi_view_unet"] = Field(description="A U-Net with attention across views.")
    source: DenoiserSourceSection = Field(description="Where the diffusers directory comes from.")
    view_weights: ViewWeightsSection | None = Field(
        description="One safetensors file of what fine-tuning for several views changed in a "
        "single-view U-Net; null where the U-Net has it (MVDream: null)."
    )
    num_views: int = Field(
        ge=2, le=16, description="Views that are denoised together (MVDream: 4)."
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        description="Number format the U-Net computes in."
    )
    vae_dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        description="Number format of the VAE's encoder; null where the U-Net denoises pixels."
    )
    image_size_px: ImageSize = Field(
        description="Side that renders are resized to, in pixels (MVDream: 256)."
    )
    cpu_offload: Offload
    storage_dtype: StorageDtype
    model: ClassVar[Model] = "diffusion"
    reads_text: ClassVar[bool] = True

    @property
    def folders(self) -> tuple[str, ...]:
        """Return the components that stay in memory."""
        return ("unet",) if self.vae_dtype is None else ("unet", "vae")

    @property
    def additions(self) -> Additions:
        """Return the source of the attention across views, if it is apart."""
        return {} if self.view_weights is None else {"view_weights": self.view_weights}

    @property
    def lighter(self) -> Lighter:
        """Return keys that cost memory, with a cheaper value."""
        return _lighter_latent_prior(self)


class FlowTransformerSection(Section):
    """A rectified-flow transformer: Stable Diffusion 3 or 3.5 (Esser et al. 2024), AuraFlow."""

    kind: Literal["flow_transformer"] = Field(description="A latent flow-matching transformer.")
    source: DenoiserSourceSection = Field(description="Where the diffusers directory comes from.")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        description="Number format the transformer computes in."
    )
    vae_dtype: Literal["float32", "bfloat16", "float16"] = Field(
        description="Number format of the VAE's encoder."
    )
    image_size_px: ImageSize = Field(
        description="Side that renders are resized to before encoding, in pixels."
    )
    t5_enabled: bool = Field(
        description="Read T5's features, not zeros in their place (SD3 was trained with both)."
    )
    t5_tokens: int = Field(
        ge=1, le=4096, description="Length that T5's features are padded to (256)."
    )
    cpu_offload: Offload
    storage_dtype: StorageDtype
    vae: OtherVae
    loras: Loras
    folders: ClassVar[tuple[str, ...]] = ("transformer", "vae")
    model: ClassVar[Model] = "diffusion"
    reads_text: ClassVar[bool] = True
    num_views: ClassVar[int] = 1

    @property
    def additions(self) -> Additions:
        """Return the sources of what is added, by key."""
        return _additions(self.vae, self.loras)

    @property
    def lighter(self) -> Lighter:
        """Return keys that cost memory, with a cheaper value."""
        return _lighter_latent_prior(self)


class LatentTransformerSection(Section):
    """Today's open transformers: FLUX.2 klein base, Z-Image, Qwen-Image, Sana, PixArt-Sigma."""

    kind: Literal["latent_transformer"] = Field(description="A text-to-image transformer.")
    source: DenoiserSourceSection = Field(description="Where the diffusers directory comes from.")
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        description="Number format the transformer computes in (all were trained in bfloat16)."
    )
    vae_dtype: Literal["float32", "bfloat16", "float16"] = Field(
        description="Number format of the VAE's encoder."
    )
    text_dtype: Literal["float32", "bfloat16"] = Field(
        description="Number format of the text encoder, which is in memory only while it encodes."
    )
    text_tokens: int = Field(
        ge=1,
        le=4096,
        description="Most tokens of a prompt with its view words and the model's template; what "
        "the model was trained with (FLUX.2 and Z-Image 512, Qwen-Image 1024, Sana and "
        "PixArt-Sigma 300).",
    )
    image_size_px: ImageSize = Field(
        description="Side that renders are resized to before encoding, in pixels."
    )
    cpu_offload: Offload
    storage_dtype: StorageDtype
    loras: Loras
    folders: ClassVar[tuple[str, ...]] = ("transformer", "vae")
    model: ClassVar[Model] = "diffusion"
    reads_text: ClassVar[bool] = True
    num_views: ClassVar[int] = 1

    @property
    def additions(self) -> Additions:
        """Return the sources of what is added, by key."""
        return _additions(None, self.loras)

    @property
    def lighter(self) -> Lighter:
        """Return keys that cost memory, with a cheaper value."""
        return _lighter_latent_prior(self)


class MixtureComponentSection(Section):
    """One Gaussian of the analytic prior: images of one colour, plus white noise."""

    weight: Positive = Field(description="Share of the component, relative to the others.")
    mean_color: Color = Field(description="RGB in [0, 1] that the whole image has on average.")
    std: float = Field(
        ge=1e-4,
        le=1e3,
        description="Standard deviation of each pixel in model space, where images are in [-1, 1].",
    )


class AnalyticSection(Section):
    """A Gaussian mixture whose score is known in closed form: the oracle of the tests."""

    kind: Literal["analytic"] = Field(description="A Gaussian mixture; needs no weights.")
    components: tuple[MixtureComponentSection, ...] = Field(
        min_length=1, max_length=1000, description="Gaussians of the mixture, at least one."
    )
    image_size_px: ImageSize = Field(description="Side of the images in pixels.")
    source: ClassVar[None] = None
    folders: ClassVar[tuple[str, ...]] = ()
    model: ClassVar[Model] = "diffusion"
    reads_text: ClassVar[bool] = False
    num_views: ClassVar[int] = 1
    cpu_offload: ClassVar[bool] = False
    additions: ClassVar[Additions] = {}
    lighter: ClassVar[Lighter] = {}


class ClipPriorSection(Section):
    """A CLIP in the prior's place, for guidance.kind clip; no diffusion model."""

    kind: Literal["clip"] = Field(description="A CLIP in transformers format.")
    source: SourceSection = Field(description="Where the model's directory comes from.")
    folders: ClassVar[tuple[str, ...]] = ("clip",)
    model: ClassVar[Model] = "clip"
    reads_text: ClassVar[bool] = True
    num_views: ClassVar[int] = 1
    cpu_offload: ClassVar[bool] = False
    additions: ClassVar[Additions] = {}
    lighter: ClassVar[Lighter] = {}


def _additions(
    vae: PartSourceSection | None,
    loras: tuple[LoraSection, ...],
    inversions: tuple[TextualInversionSection, ...] = (),
) -> Additions:
    found: Additions = {} if vae is None else {"vae": vae}
    for index, lora in enumerate(loras):
        found[f"loras.{index}"] = lora.source
    for index, inversion in enumerate(inversions):
        found[f"textual_inversions.{index}"] = inversion.source
    return found


def _lighter_latent_prior(
    prior: LatentUnetSection
    | MultiViewUnetSection
    | FlowTransformerSection
    | LatentTransformerSection,
) -> Lighter:
    found: Lighter = {}
    if prior.dtype == "float32":
        found["dtype"] = "bfloat16"
    if prior.vae_dtype == "float32":
        found["vae_dtype"] = "bfloat16"
    if prior.storage_dtype is None:
        found["storage_dtype"] = "float8_e4m3fn"
    if prior.cpu_offload != "group":
        found["cpu_offload"] = "group" if prior.cpu_offload else True
    if prior.image_size_px > 256:
        found["image_size_px"] = prior.image_size_px // 2
    return found


PriorSection = Annotated[
    PixelUnetSection
    | LatentUnetSection
    | MultiViewUnetSection
    | FlowTransformerSection
    | LatentTransformerSection
    | AnalyticSection
    | ClipPriorSection,
    Field(discriminator="kind"),
]
