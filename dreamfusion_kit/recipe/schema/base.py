"""The shared pieces of the schema: sections, bounded numbers, ranges and schedules."""

import itertools
import math
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

# Tags of the schedule union. No key can be spelled like them, so that an error's path
# can be cleared of them without guessing.
NUMBER_TAG = "<number>"
LINEAR_TAG = "<linear>"
SQRT_TAG = "<sqrt>"
PIECEWISE_TAG = "<piecewise>"
SCHEDULE_TAGS = (NUMBER_TAG, LINEAR_TAG, SQRT_TAG, PIECEWISE_TAG)

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Steps = Annotated[int, Field(ge=0)]
Color = tuple[Fraction, Fraction, Fraction]
Lighter = dict[str, object]  # a section's keys that cost memory, each with a cheaper value
Elevation = Annotated[float, Field(ge=-90, le=90)]


class Section(BaseModel):
    """Base of every section: immutable, strict, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    lower, upper = pair
    if lower > upper:
        raise ValueError(f"found {lower:g} above {upper:g}, expected [lower, upper]")
    return pair


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
PositiveRange = Annotated[tuple[Positive, Positive], AfterValidator(_ordered)]
FractionRange = Annotated[tuple[Fraction, Fraction], AfterValidator(_ordered)]
ElevationRange = Annotated[tuple[Elevation, Elevation], AfterValidator(_ordered)]


class LinearSchedule(Section):
    """A value that moves linearly from `start` to `end` between two steps, constant outside."""

    start: NonNegative = Field(description="Value up to and at from_step.")
    end: NonNegative = Field(description="Value at and after to_step.")
    from_step: Steps = Field(description="Optimiser step at which the value begins to move.")
    to_step: Steps = Field(description="Optimiser step at which the value arrives.")

    @model_validator(mode="after")
    def _steps_are_ordered(self) -> Self:
        if self.from_step >= self.to_step:
            raise ValueError(
                f"found from_step {self.from_step} and to_step {self.to_step}, "
                "expected from_step below to_step"
            )
        return self

    def value_at(self, step: int) -> float:
        """Return the value at optimiser step `step`."""
        return self._between(self._progress(step))

    def _progress(self, step: int) -> float:
        progress = (step - self.from_step) / (self.to_step - self.from_step)
        return min(max(progress, 0.0), 1.0)

    def _between(self, progress: float) -> float:
        # This form, unlike start + progress * (end - start), ends at `end` to the bit.
        return (1.0 - progress) * self.start + progress * self.end


class SqrtSchedule(LinearSchedule):
    """The same with the square root of the elapsed share: fast first, then slower.

    HiFA (arXiv 2305.18766) anneals the timestep so.
    """

    curve: Literal["sqrt"] = Field(
        description="The value moves with the root of the elapsed share."
    )

    def value_at(self, step: int) -> float:
        """Return the value at optimiser step `step`."""
        return self._between(math.sqrt(self._progress(step)))


class PiecewiseSchedule(Section):
    """Straight lines between points, constant before the first and after the last.

    A jump is two points one step apart: [[0, 0.98], [4999, 0.98], [5000, 0.5]].
    """

    points: tuple[tuple[Steps, NonNegative], ...] = Field(
        min_length=2, description="Pairs [step, value], steps rising."
    )

    @model_validator(mode="after")
    def _steps_rise(self) -> Self:
        for (before, _), (after, _) in itertools.pairwise(self.points):
            if before >= after:
                raise ValueError(f"found step {after} after step {before}, expected rising steps")
        return self

    def value_at(self, step: int) -> float:
        """Return the value at optimiser step `step`."""
        for (before, start), (after, end) in itertools.pairwise(self.points):
            if step <= after:
                progress = max((step - before) / (after - before), 0.0)
                return (1.0 - progress) * start + progress * end
        return self.points[-1][1]


def _schedule_tag(value: Any) -> str:  # Any: pydantic passes the raw input or the model.
    match value:
        case dict() | LinearSchedule() | PiecewiseSchedule():
            keys = value if isinstance(value, dict) else type(value).model_fields
        case _:
            return NUMBER_TAG
    if "points" in keys:
        return PIECEWISE_TAG
    return SQRT_TAG if "curve" in keys else LINEAR_TAG


Schedule = Annotated[
    Annotated[NonNegative, Tag(NUMBER_TAG)]
    | Annotated[LinearSchedule, Tag(LINEAR_TAG)]
    | Annotated[SqrtSchedule, Tag(SQRT_TAG)]
    | Annotated[PiecewiseSchedule, Tag(PIECEWISE_TAG)],
    Discriminator(_schedule_tag),
]
