"""The shared pieces of the schema: sections, bounded numbers, ranges and schedules."""

import bisect
import itertools
import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_serializer,
    model_validator,
)

from dreamfusion_kit.errors import first_unprintable

# Tags of the schedule union. No key can be spelled like them, so they can be removed from an
# error's path without guessing.
NUMBER_TAG = "<number>"
LINEAR_TAG = "<linear>"
SQRT_TAG = "<sqrt>"
PIECEWISE_TAG = "<piecewise>"
SIZES_TAG = "<sizes>"
SCHEDULE_TAGS = (NUMBER_TAG, LINEAR_TAG, SQRT_TAG, PIECEWISE_TAG, SIZES_TAG)

# The same for one judge or several, and for a protocol that is written out or named.
ONE_TAG = "<one>"
SEVERAL_TAG = "<several>"
WRITTEN_TAG = "<written>"
NAMED_TAG = "<named>"
UNION_TAGS = (*SCHEDULE_TAGS, ONE_TAG, SEVERAL_TAG, WRITTEN_TAG, NAMED_TAG)

# Every number has an upper and a lower bound, far beyond what any method uses. The bounds keep
# squares and inverse squares within float32 and counts within int32, and no single key can
# ask for more memory than machines have.
_SMALL = 1e-9
_LARGE = 1e6

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(ge=_SMALL, le=_LARGE)]
NonNegative = Annotated[float, Field(ge=0, le=_LARGE)]
Length = Annotated[float, Field(ge=1e-6, le=_LARGE)]  # scene units
LearningRate = Annotated[float, Field(ge=1e-12, le=10)]
Epsilon = Annotated[float, Field(ge=1e-30, le=1)]
RawDensity = Annotated[float, Field(ge=-1e4, le=1e4)]  # before the activation

Count = Annotated[int, Field(ge=1, le=10**9)]
Steps = Annotated[int, Field(ge=0, le=10**9)]
Layers = Annotated[int, Field(ge=0, le=256)]
Width = Annotated[int, Field(ge=1, le=8192)]
Samples = Annotated[int, Field(ge=1, le=16384)]
ImageSize = Annotated[int, Field(ge=1, le=8192)]  # pixels
Seed = Annotated[int, Field(ge=0, lt=2**63)]

Color = tuple[Fraction, Fraction, Fraction]
Lighter = dict[str, object]  # a section's keys that cost memory, each with a cheaper value
Elevation = Annotated[float, Field(ge=-90, le=90)]
FocalLength = Annotated[float, Field(ge=0.01, le=1000)]  # image widths
Azimuth = Annotated[float, Field(ge=-3600, le=3600)]


METRIC_KEY = r"^[a-z0-9_]{1,64}(\.[a-z0-9_]{1,64}){0,4}$"


def is_one_line(text: str) -> str:
    """Return `text`, or raise ValueError unless it is one line of printable text.

    All scripts and joined emoji are printable; characters that reorder or hide text are not.
    """
    char = first_unprintable(text)
    if char is not None:
        raise ValueError(
            f"found the character U+{ord(char):04X}, expected one line of printable text"
        )
    return text


def _is_printable(text: str) -> str:
    for line in text.split("\n"):  # splitlines() would swallow other separators
        is_one_line(line)
    return text


Line = Annotated[str, Field(max_length=1000), AfterValidator(is_one_line)]
Text = Annotated[str, Field(max_length=5000), AfterValidator(_is_printable)]  # maybe several lines


class Section(BaseModel):
    """Base of every section: immutable, strict, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class SparseSection(Section):
    """A section whose optional keys are not written where they are None or empty.

    So a file without them reads and writes alike, and has the identity that it had before the
    schema knew them.
    """

    @model_serializer(mode="wrap")
    def _without_empty(self, handler: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        fields = type(self).model_fields
        return {
            name: value
            for name, value in handler(self).items()
            if fields[name].is_required() or value not in (None, {})
        }


def _ordered(pair: tuple[float, float]) -> tuple[float, float]:
    lower, upper = pair
    if lower > upper:
        raise ValueError(f"found {lower:g} above {upper:g}, expected [lower, upper]")
    return pair


LengthRange = Annotated[tuple[Length, Length], AfterValidator(_ordered)]
AzimuthRange = Annotated[tuple[Azimuth, Azimuth], AfterValidator(_ordered)]
FocalRange = Annotated[tuple[FocalLength, FocalLength], AfterValidator(_ordered)]
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
        min_length=2, max_length=10_000, description="Pairs [step, value], steps rising."
    )

    @model_validator(mode="after")
    def _steps_rise(self) -> Self:
        for (before, _), (after, _) in itertools.pairwise(self.points):
            if before >= after:
                raise ValueError(f"found step {after} after step {before}, expected rising steps")
        return self

    def value_at(self, step: int) -> float:
        """Return the value at optimiser step `step`."""
        index = bisect.bisect_left(self.points, step, lo=1, key=lambda point: point[0])
        if index == len(self.points):
            return self.points[-1][1]
        (before, start), (after, end) = self.points[index - 1 : index + 1]
        progress = max((step - before) / (after - before), 0.0)
        return (1.0 - progress) * start + progress * end


class SizeSchedule(Section):
    """A size in pixels that holds from each step to the next: [[0, 64], [5000, 512]]."""

    sizes: tuple[tuple[Steps, ImageSize], ...] = Field(
        min_length=1, max_length=100, description="Pairs [step, pixels], from step 0, steps rising."
    )

    @model_validator(mode="after")
    def _steps_rise_from_zero(self) -> Self:
        if self.sizes[0][0] != 0:
            raise ValueError(f"found step {self.sizes[0][0]} first, expected 0")
        for (before, _), (after, _) in itertools.pairwise(self.sizes):
            if before >= after:
                raise ValueError(f"found step {after} after step {before}, expected rising steps")
        return self

    def value_at(self, step: int) -> int:
        """Return the size at optimiser step `step`."""
        index = bisect.bisect_right(self.sizes, step, key=lambda pair: pair[0])
        return self.sizes[index - 1][1]


def _size_tag(value: Any) -> str:  # Any: pydantic passes the raw input or the model.
    return SIZES_TAG if isinstance(value, dict | SizeSchedule) else NUMBER_TAG


ScheduledImageSize = Annotated[
    Annotated[ImageSize, Tag(NUMBER_TAG)] | Annotated[SizeSchedule, Tag(SIZES_TAG)],
    Discriminator(_size_tag),
]


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


def _values(schedule: float | LinearSchedule | PiecewiseSchedule) -> list[float]:
    """Return values that bound all of the schedule's values."""
    match schedule:
        case LinearSchedule():
            return [schedule.start, schedule.end]
        case PiecewiseSchedule():
            return [value for _, value in schedule.points]
        case _:
            return [schedule]


def peak_of(schedule: float | LinearSchedule | PiecewiseSchedule) -> float:
    """Return the schedule's highest value."""
    return max(_values(schedule))


def _is_at_most_1(
    schedule: float | LinearSchedule | PiecewiseSchedule,
) -> float | LinearSchedule | PiecewiseSchedule:
    highest = peak_of(schedule)
    if highest > 1:
        raise ValueError(f"found {highest:g}, expected fractions of at most 1")
    return schedule


FractionSchedule = Annotated[Schedule, AfterValidator(_is_at_most_1)]
