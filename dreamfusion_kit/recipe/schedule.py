"""The value of a scheduled recipe key at a step."""

from typing import TypeAlias

from dreamfusion_kit.recipe.schema import LinearSchedule, PiecewiseSchedule
from dreamfusion_kit.recipe.schema.base import peak_of

Scheduled: TypeAlias = float | LinearSchedule | PiecewiseSchedule


def value_at(schedule: Scheduled, step: int) -> float:
    """Return what `schedule` is at optimiser step `step`; a plain number is constant."""
    return float(schedule) if isinstance(schedule, int | float) else schedule.value_at(step)


def peak(schedule: Scheduled) -> float:
    """Return the highest value that `schedule` takes at any step."""
    return float(peak_of(schedule))
