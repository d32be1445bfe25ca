"""Guidance: how a prior and a rendered view become a gradient on that view.

Each guidance class states what that kind asks for:

    model           the kind of model that the recipe's prior has to be
    other_texts     the texts that it reads beside the views', by what they are for
    plain_prompt    whether it reads the prompt without words for the view as well
    num_texts       how many texts per image one call of the denoiser reads
    compares_texts  whether it is 0 for a model that ignores the text
    adapter_rank    rank of the second denoiser trained beside the field; None without one
    phi_source      where its weights come from if not from the prior; None otherwise
    lighter         the keys that cost memory, each with a cheaper value to try
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from dreamfusion_kit.recipe.schema.base import (
    Fraction,
    FractionSchedule,
    LearningRate,
    Lighter,
    Line,
    NonNegative,
    Schedule,
    Section,
)
from dreamfusion_kit.recipe.schema.optimize import AdamSection
from dreamfusion_kit.recipe.schema.order import Course, first_disorder
from dreamfusion_kit.recipe.schema.prior import Model
from dreamfusion_kit.recipe.schema.source import ModelSourceSection

NEGATIVE = "negative"
PLAIN = "plain"
UNCONDITIONAL = "unconditional"
HalfWidth = Annotated[float, Field(ge=1e-3, le=179)]
DecayFactor = Annotated[float, Field(ge=0, le=1000)]
DecayOffset = Annotated[float, Field(ge=-1000, le=1000)]
DecayCoefficients = tuple[DecayFactor, DecayFactor, DecayOffset]


def _check_order(lower: Course, upper: Course) -> None:
    wrong = first_disorder(lower, upper)
    if wrong is not None:
        raise ValueError(
            f"found timestep_min {wrong.lower:g} and timestep_max {wrong.upper:g} at step "
            f"{wrong.step}, expected 0 <= timestep_min < timestep_max <= 1"
        )


class ViewPromptsSection(Section):
    """Text appended to the prompt by the camera's direction (DF s. 3.2)."""

    enabled: bool = Field(description="Whether the prompt follows the view at all.")
    combine: Literal["nearest", "interpolated"] = Field(
        description="Whether a view takes the closest text's features (DF A.2) or mixes those of "
        "front, sides and back by its azimuth (DF s. 3.2)."
    )
    front: Line = Field(description="Appended around azimuth 0, where the object's front is.")
    left: Line = Field(
        description="Appended between front and back where the camera is on the object's left, at "
        "azimuth 90 degrees (DF: as right)."
    )
    right: Line = Field(description="Appended around azimuth 270 degrees (DF: as left).")
    back: Line = Field(description="Appended around azimuth 180 degrees.")
    overhead: Line = Field(description="Appended above overhead_above_deg, at any azimuth.")
    overhead_above_deg: float = Field(
        ge=-90,
        le=90,
        description="Elevation in degrees strictly above which a view is overhead (DF: 60).",
    )
    front_half_width_deg: HalfWidth = Field(
        description="A view within so many degrees of azimuth 0 is a front view (DF: 45)."
    )
    back_half_width_deg: HalfWidth = Field(
        description="A view within so many degrees of azimuth 180 is a back view (DF: 45)."
    )

    @property
    def words(self) -> tuple[str, ...] | None:
        """Return what the views append to the prompt, front to overhead; None for nothing."""
        views = (self.front, self.left, self.right, self.back, self.overhead)
        return views if self.enabled else None

    @model_validator(mode="after")
    def _front_and_back_do_not_overlap(self) -> "ViewPromptsSection":
        total = self.front_half_width_deg + self.back_half_width_deg
        if total > 180:
            raise ValueError(
                f"found front_half_width_deg + back_half_width_deg = {total:g}, "
                "expected at most 180, or front and back overlap"
            )
        return self


class PerpNegSection(Section):
    """Perp-Neg (arXiv 2304.04968): other views' texts push away, but never against the view's own.

    Between two views the positive text is interpolated, and each other view's text
    weighs a exp(-b r) + c, where r in [0, 1] is how far the camera has come to that view.
    """

    front_at_side: DecayCoefficients = Field(
        description="[a, b, c] for the front's text between front and side "
        "(threestudio: 4, 0.5, -2.426: 0 at the front, 1.57 at the side)."
    )
    side_at_front: DecayCoefficients = Field(
        description="[a, b, c] for the side's text between front and side "
        "(threestudio: 4, 0.5, -2.426)."
    )
    side_at_back: DecayCoefficients = Field(
        description="[a, b, c] for the side's text between side and back "
        "(threestudio: 1, 0.5, -0.606)."
    )
    front_at_back: DecayCoefficients = Field(
        description="[a, b, c] for the front's text between side and back "
        "(threestudio: 1, 0.5, 0.967)."
    )


class ScoreGuidanceSection(Section):
    """What all guidances share that ask a diffusion model for its score."""

    guidance_scale: NonNegative = Field(
        description="s in eps_u + s (eps_c - eps_u), the diffusers convention "
        "(DF: omega = 100, which is s = 101; VSD and ISM: 7.5)."
    )
    guidance_rescale: Fraction = Field(
        description="Share to which the guided prediction's deviation per image is set back to "
        "the conditional one's (Lin et al. 2023, s. 3.4, phi: 0.7); 0 is off (DF: off). Views that "
        "a prior denoises together count as one image."
    )
    perp_neg: PerpNegSection | None = Field(
        description="Perp-Neg's weights; null is plain classifier-free guidance (DF: null)."
    )
    timestep_weight: Literal["sigma_squared", "uniform", "sigma_over_alpha", "flow"] = Field(
        description="w(t) of the gradient (DF s. 3.2: sigma_t squared; uniform performs alike; "
        "SJC: uniform; VSD: sigma_t squared; ISM, SDI: sigma_t over alpha_t; RFDS: flow, which is "
        "1 + sigma_t / alpha_t, a velocity's error per error of the noise)."
    )
    timestep_min: Schedule = Field(
        description="Lowest timestep drawn, as a fraction of the diffusion time (DF: 0.02)."
    )
    timestep_max: Schedule = Field(
        description="Highest timestep drawn, as a fraction of the diffusion time (DF: 0.98; "
        "VSD: 0.98, then 0.5)."
    )
    negative_prompt: Line = Field(
        description="Text of the unconditional branch; empty is plain guidance (DF: empty)."
    )
    view_prompts: ViewPromptsSection = Field(
        description="Text that follows the camera (DF s. 3.2)."
    )
    model: ClassVar[Model] = "diffusion"
    compares_texts: ClassVar[bool] = False

    @property
    def other_texts(self) -> dict[str, str]:
        """Return the negative prompt, whose prediction stands for the unconditional one."""
        return {NEGATIVE: self.negative_prompt}

    @property
    def plain_prompt(self) -> bool:
        """Return False: the view's own text is enough."""
        return False

    @property
    def num_texts(self) -> int:
        """Return two texts, the view's and the negative; Perp-Neg adds two views'."""
        return 2 if self.perp_neg is None else 4

    @property
    def adapter_rank(self) -> int | None:
        """Return None: only the field is trained."""
        return None

    @property
    def phi_source(self) -> ModelSourceSection | None:
        """Return None: there is no second denoiser."""
        return None

    @property
    def lighter(self) -> Lighter:
        """Return keys that cost memory, with a cheaper value."""
        return {} if self.perp_neg is None else {"perp_neg": None}

    @property
    def divides_by_signal(self) -> bool:
        """Return whether the guidance computes sigma_t / alpha_t."""
        return self.timestep_weight in ("sigma_over_alpha", "flow")

    @model_validator(mode="after")
    def _timesteps_are_ordered_fractions(self) -> Self:
        _check_order(self.timestep_min, self.timestep_max)
        return self

    @model_validator(mode="after")
    def _perp_neg_has_views(self) -> Self:
        if self.perp_neg is not None and not self.view_prompts.enabled:
            raise ValueError(
                "found perp_neg with view_prompts.enabled false, expected view prompts: "
                "Perp-Neg pushes the other views' texts away"
            )
        return self


class SdsSection(ScoreGuidanceSection):
    """Score Distillation Sampling (DF eq. 3)."""

    kind: Literal["sds"] = Field(description="Score Distillation Sampling.")


class SjcSection(ScoreGuidanceSection):
    """Score Jacobian Chaining (arXiv 2212.00774)."""

    kind: Literal["sjc"] = Field(description="Score Jacobian Chaining.")
    variance_reduction: bool = Field(
        description="Whether the denoised image is compared with the clean one (the authors' "
        "code: true, eq. 16) or with the noisy one that was denoised (eq. 15)."
    )

    @property
    def divides_by_signal(self) -> bool:
        """Return True: its sigma is sigma_t / alpha_t."""
        return True


class CsdSection(ScoreGuidanceSection):
    """Classifier Score Distillation (arXiv 2310.19415). `guidance_scale` is its omega_1."""

    kind: Literal["csd"] = Field(description="Classifier Score Distillation.")
    negative_weight: Schedule = Field(
        description="omega_2, the weight of eps_u - eps_negative; the paper lowers it during "
        "the run, since a constant one costs detail. At 0 the negative prompt is not asked for."
    )
    compares_texts: ClassVar[bool] = True

    @property
    def other_texts(self) -> dict[str, str]:
        """Return the negative prompt and the empty one, as two separate texts."""
        return {NEGATIVE: self.negative_prompt, UNCONDITIONAL: ""}

    @property
    def num_texts(self) -> int:
        """Return three; the negative one drops out where its weight is 0."""
        return 3

    @model_validator(mode="after")
    def _nothing_to_combine(self) -> Self:
        if self.guidance_rescale > 0 or self.perp_neg is not None:
            raise ValueError(
                "found guidance_rescale above 0 or a perp_neg, expected 0 and null: csd is a "
                "difference of predictions, not a guided prediction"
            )
        return self


class PhiSection(Section):
    """VSD's second denoiser: an adapter of the prior that learns the renders' own score."""

    source: ModelSourceSection | None = Field(
        description="Another network to adapt, on the same latents, texts and timesteps; it may "
        "predict something else (ProlificDreamer: Stable Diffusion 2.1 for 768 px, which predicts "
        "v, beside the prior 2.1-base); null for the prior's own weights."
    )
    rank: int = Field(
        ge=1, le=1024, description="Rank of the LoRA matrices (ProlificDreamer's code: 4)."
    )
    learning_rate: LearningRate = Field(description="Learning rate (ProlificDreamer: 1e-4).")
    optimizer: AdamSection = Field(description="Phi's own optimiser.")
    steps: int = Field(
        ge=1, le=1000, description="Steps of phi per step of the field (ProlificDreamer: 1)."
    )
    loss: Literal["epsilon", "v", "flow"] = Field(
        description="What the squared error is of: the noise; v = alpha_t eps - sigma_t x, which "
        "weighs the noise's by 1 / alpha_t^2 (ProlificDreamer's code: v); or a flow's velocity "
        "eps - x, by (1 + sigma_t / alpha_t)^2, which flow models were trained with."
    )
    text: Literal["view", "plain"] = Field(
        description="What phi reads: the view's text, or the prompt without words for the view, "
        "since it is told the camera (ProlificDreamer's code: plain)."
    )
    timestep_min: Schedule = Field(
        description="Lowest timestep that phi learns, as a fraction of the diffusion time "
        "(ProlificDreamer's code: 0)."
    )
    timestep_max: Schedule = Field(
        description="Highest timestep that phi learns, as a fraction of the diffusion time "
        "(ProlificDreamer's code: 1, also after the field's has fallen to 0.5)."
    )
    camera_dropout: Fraction = Field(
        description="Share of phi's training images without their camera "
        "(ProlificDreamer's code: 0.1)."
    )

    @property
    def divides_by_signal(self) -> bool:
        """Return whether the loss has a finite weight only where alpha_t is above 0."""
        return self.loss != "epsilon"

    @model_validator(mode="after")
    def _timesteps_are_ordered_fractions(self) -> Self:
        _check_order(self.timestep_min, self.timestep_max)
        return self


class VsdSection(ScoreGuidanceSection):
    """Variational Score Distillation (ProlificDreamer, arXiv 2305.16213)."""

    kind: Literal["vsd"] = Field(description="Variational Score Distillation.")
    phi: PhiSection = Field(description="The denoiser that follows the renders.")

    @property
    def adapter_rank(self) -> int | None:
        """Return phi's rank."""
        return self.phi.rank

    @property
    def phi_source(self) -> ModelSourceSection | None:
        """Return where phi's weights come from if not from the prior."""
        return self.phi.source

    @property
    def plain_prompt(self) -> bool:
        """Return whether phi reads it."""
        return self.phi.text == "plain"

    @property
    def divides_by_signal(self) -> bool:
        """Return whether w(t) or phi's loss does."""
        return super().divides_by_signal or self.phi.divides_by_signal


class IsmSection(ScoreGuidanceSection):
    """Interval Score Matching (LucidDreamer, arXiv 2311.11284)."""

    kind: Literal["ism"] = Field(description="Interval Score Matching.")
    interval: FractionSchedule = Field(
        description="delta_T = t - s, as a fraction of the diffusion time (LucidDreamer: 50 of "
        "1000; its code anneals 100 to 80)."
    )
    inversion_stride: Fraction = Field(
        ge=1e-3,
        description="delta_S, the stride of the DDIM inversion up to s, as a fraction of the "
        "diffusion time (LucidDreamer: 200 of 1000).",
    )


class SdiSection(ScoreGuidanceSection):
    """Score Distillation via Inversion (Lukoianov et al. 2024, arXiv 2405.15891)."""

    kind: Literal["sdi"] = Field(description="Score Distillation via Inversion.")
    inversion_scale: float = Field(
        ge=-1000,
        le=1000,
        description="guidance_scale of the inversion (SDI: -7.5, the negative of guidance_scale).",
    )
    inversion_stride: Fraction = Field(
        ge=1e-3,
        description="Stride of the DDIM inversion, as a fraction of the diffusion time "
        "(SDI: 0.1, which is 10 steps over all of it).",
    )
    inversion_noise: Fraction = Field(
        description="eta, the share of DDIM's deviation that each stride adds at random "
        "(SDI's code: 0.3)."
    )


class RfdsRevSection(ScoreGuidanceSection):
    """RFDS-Rev: the noise reversed first, then distillation (Yang et al. 2024, arXiv 2406.03293).

    RFDS without the reversal is sds with timestep_weight flow.
    """

    kind: Literal["rfds_rev"] = Field(
        description="Rectified-flow distillation with reversal; for diffusions as well."
    )


class X0ReconstructionSection(ScoreGuidanceSection):
    """MVDream's loss, the squared error of the clean image (arXiv 2308.16512, s. 3.2).

    Its `guidance_rescale` acts on the prior's estimate of the clean image (MVDream: 0.5).
    """

    kind: Literal["x0_reconstruction"] = Field(
        description="Distance to the clean image that the prior sees; for any diffusion prior."
    )

    @property
    def divides_by_signal(self) -> bool:
        """Return True: the estimate of the clean image does."""
        return True

    @model_validator(mode="after")
    def _weighs_an_image(self) -> Self:
        if self.timestep_weight not in ("uniform", "sigma_squared"):
            raise ValueError(
                f"found timestep_weight {self.timestep_weight} with kind x0_reconstruction, "
                "expected uniform (MVDream's) or sigma_squared: the error is the clean image's "
                "already"
            )
        return self


class ClipGuidanceSection(Section):
    """Dream Fields' loss (arXiv 2112.01455): the image's likeness to the text, by CLIP."""

    kind: Literal["clip"] = Field(description="CLIP similarity; needs prior.kind clip.")
    transmittance_lambda: NonNegative = Field(
        description="Weight of the mean transmittance, rewarded up to its target "
        "(Dream Fields: 0.5)."
    )
    opacity_target: FractionSchedule = Field(
        description="1 - tau: mean opacity below which no more emptiness is rewarded "
        "(Dream Fields: 0.5 to 0.1 in 500 steps, times the camera's zoom)."
    )
    view_prompts: ViewPromptsSection = Field(
        description="Text that follows the camera (Dream Fields: none)."
    )
    model: ClassVar[Model] = "clip"
    other_texts: ClassVar[dict[str, str]] = {}
    plain_prompt: ClassVar[bool] = False
    num_texts: ClassVar[int] = 1
    compares_texts: ClassVar[bool] = False
    adapter_rank: ClassVar[int | None] = None
    phi_source: ClassVar[ModelSourceSection | None] = None
    lighter: ClassVar[Lighter] = {}


GuidanceSection = Annotated[
    SdsSection
    | SjcSection
    | CsdSection
    | VsdSection
    | IsmSection
    | SdiSection
    | RfdsRevSection
    | X0ReconstructionSection
    | ClipGuidanceSection,
    Field(discriminator="kind"),
]
