"""Dream Fields' loss."""

from typing import ClassVar, Literal

from pydantic import Field

from dreamfusion_kit.recipe.schema.base import FractionSchedule, Lighter, NonNegative, Section
from dreamfusion_kit.recipe.schema.guidance.view_prompts import ViewPromptsSection
from dreamfusion_kit.recipe.schema.prior import Model
from dreamfusion_kit.recipe.schema.source import ModelSourceSection


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
