"""Perp-Neg's weights."""

from typing import Annotated

from pydantic import Field

from dreamfusion_kit.recipe.schema.base import Section

DecayFactor = Annotated[float, Field(ge=0, le=1000)]
DecayOffset = Annotated[float, Field(ge=-1000, le=1000)]
DecayCoefficients = tuple[DecayFactor, DecayFactor, DecayOffset]


class PerpNegSection(Section):
    """Perp-Neg (arXiv 2304.04968): other views' texts push away, but never against the view's own.

    Between two views the positive text is interpolated, and each other view's text
    weighs a exp(-b r) + c, where r in [0, 1] is how far the camera has come to that view.
    """

    front_at_side: DecayCoefficients = Field(
        description="[a, b, c] for the front's text between front and side "
        "(threestudio: 4, 0.5, -2.426: 0 at the front, 1.57 at the side)."
    )
    side_at_front: DecayCoefficients = Field(
        description="[a, b, c] for the side's text between front and side "
        "(threestudio: 4, 0.5, -2.426)."
    )
    side_at_back: DecayCoefficients = Field(
        description="[a, b, c] for the side's text between side and back "
        "(threestudio: 1, 0.5, -0.606)."
    )
    front_at_back: DecayCoefficients = Field(
        description="[a, b, c] for the front's text between side and back "
        "(threestudio: 1, 0.5, 0.967)."
    )
