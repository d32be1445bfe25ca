"""The value of a scheduled recipe key at a step."""

from dreamfusion_kit.recipe.schema import LinearSchedule


def value_at(schedule: float | LinearSchedule, step: int) -> float:
    """Return what `schedule` is at optimiser step `step`; a plain number is constant."""
    return schedule.value_at(step) if isinstance(schedule, LinearSchedule) else float(schedule)
