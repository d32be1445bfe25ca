"""Interval Score Matching."""

from typing import Literal

from pydantic import Field

from dreamfusion_kit.recipe.schema.base import Fraction, FractionSchedule
from dreamfusion_kit.recipe.schema.guidance.base import ScoreGuidanceSection


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
