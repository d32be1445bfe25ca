"""Score Jacobian Chaining."""

from typing import Literal

from pydantic import Field

from dreamfusion_kit.recipe.schema.guidance.base import ScoreGuidanceSection


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
