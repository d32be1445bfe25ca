"""Rectified-flow distillation with reversal."""

from typing import Literal

from pydantic import Field

from dreamfusion_kit.recipe.schema.guidance.base import ScoreGuidanceSection


class RfdsRevSection(ScoreGuidanceSection):
    """RFDS-Rev: the noise reversed first, then distillation (Yang et al. 2024, arXiv 2406.03293).

    RFDS without the reversal is sds with timestep_weight flow.
    """

    kind: Literal["rfds_rev"] = Field(
        description="Rectified-flow distillation with reversal; for diffusions as well."
    )
