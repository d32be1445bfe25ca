"""What all guidances share that ask a diffusion model for its score."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from dreamfusion_kit.recipe.schema.base import (
    Fraction,
    Lighter,
    Line,
    NonNegative,
    Schedule,
    Section,
)
from dreamfusion_kit.recipe.schema.guidance.perp_neg import PerpNegSection
from dreamfusion_kit.recipe.schema.guidance.view_prompts import ViewPromptsSection
from dreamfusion_kit.recipe.schema.order import Course, first_disorder
from dreamfusion_kit.recipe.schema.prior import Model
from dreamfusion_kit.recipe.schema.source import ModelSourceSection

NEGATIVE = "negative"
PLAIN = "plain"
UNCONDITIONAL = "unconditional"


def check_order(lower: Course, upper: Course) -> None:
    """Raise ValueError at the first step at which the timesteps are not ordered fractions."""
    wrong = first_disorder(lower, upper)
    if wrong is not None:
        raise ValueError(
            f"found timestep_min {wrong.lower:g} and timestep_max {wrong.upper:g} at step "
            f"{wrong.step}, expected 0 <= timestep_min < timestep_max <= 1"
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
        """Return None: without VSD only the field learns."""
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
        check_order(self.timestep_min, self.timestep_max)
        return self

    @model_validator(mode="after")
    def _perp_neg_has_views(self) -> Self:
        if self.perp_neg is not None and not self.view_prompts.enabled:
            raise ValueError(
                "found perp_neg with view_prompts.enabled false, expected view prompts: "
                "Perp-Neg pushes the other views' texts away"
            )
        return self
