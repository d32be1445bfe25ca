"""Score Distillation via Inversion."""

from typing import Literal

from pydantic import Field

from dreamfusion_kit.recipe.schema.base import Fraction
from dreamfusion_kit.recipe.schema.guidance.base import ScoreGuidanceSection


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
