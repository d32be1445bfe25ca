"""Score Distillation Sampling."""

from typing import Literal

from pydantic import Field

from dreamfusion_kit.recipe.schema.guidance.base import ScoreGuidanceSection


class SdsSection(ScoreGuidanceSection):
    """Score Distillation Sampling (DF eq. 3)."""

    kind: Literal["sds"] = Field(description="Score Distillation Sampling.")
