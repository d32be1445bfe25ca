"""Classifier Score Distillation."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from dreamfusion_kit.recipe.schema.base import Schedule
from dreamfusion_kit.recipe.schema.guidance.base import (
    NEGATIVE,
    UNCONDITIONAL,
    ScoreGuidanceSection,
)


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
