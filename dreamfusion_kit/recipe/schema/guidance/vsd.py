"""Variational Score Distillation, and its second denoiser."""

from typing import Literal, Self

from pydantic import Field, model_validator

from dreamfusion_kit.recipe.schema.base import Fraction, LearningRate, Schedule, Section
from dreamfusion_kit.recipe.schema.guidance.base import ScoreGuidanceSection, check_order
from dreamfusion_kit.recipe.schema.optimize import AdamSection
from dreamfusion_kit.recipe.schema.source import ModelSourceSection


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
        check_order(self.timestep_min, self.timestep_max)
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
