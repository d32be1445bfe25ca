"""The value of a scheduled recipe key at a step."""

from dreamfusion_kit.recipe.schema import LinearSchedule, PiecewiseSchedule


def value_at(schedule: float | LinearSchedule | PiecewiseSchedule, step: int) -> float:
    """Return what `schedule` is at optimiser step `step`; a plain number is constant."""
    return float(schedule) if isinstance(schedule, int | float) else schedule.value_at(step)
