"""The shared pieces of the schema: sections, bounded numbers, ranges and schedules."""

from typing import Annotated, Any

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
SCHEDULE_TAG = "<schedule>"

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Steps = Annotated[int, Field(ge=0)]
Color = tuple[Fraction, Fraction, Fraction]
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
    def _steps_are_ordered(self) -> "LinearSchedule":
        if self.from_step >= self.to_step:
            raise ValueError(
                f"found from_step {self.from_step} and to_step {self.to_step}, "
                "expected from_step below to_step"
            )
        return self

    def value_at(self, step: int) -> float:
        """Return the value at optimiser step `step`."""
        progress = (step - self.from_step) / (self.to_step - self.from_step)
        progress = min(max(progress, 0.0), 1.0)
        # This form, unlike start + progress * (end - start), ends at `end` to the bit.
        return (1.0 - progress) * self.start + progress * self.end


def _schedule_tag(value: Any) -> str:  # Any: pydantic passes the raw input or the model.
    return SCHEDULE_TAG if isinstance(value, dict | LinearSchedule) else NUMBER_TAG


Schedule = Annotated[
    Annotated[NonNegative, Tag(NUMBER_TAG)] | Annotated[LinearSchedule, Tag(SCHEDULE_TAG)],
    Discriminator(_schedule_tag),
]
