"""What the camera adds to the prompt."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from dreamfusion_kit.recipe.schema.base import Line, Section

HalfWidth = Annotated[float, Field(ge=1e-3, le=179)]


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
