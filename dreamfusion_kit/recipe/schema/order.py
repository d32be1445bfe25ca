"""Whether one schedule stays below another: in closed form, not step by step.

    breakpoint          step at which a schedule's formula changes
    a, k                a root's first step and factor: start + k sqrt(step - a)
    m                   slope of the other schedule between two breakpoints

Between breakpoints a schedule is constant, linear or a root, so the difference of two has
at most one extremum there. The breakpoints and extrema split the steps into intervals on
which the difference is monotone, and a disorder is found by bisection.
"""

import bisect
import itertools
import math
from dataclasses import dataclass

from dreamfusion_kit.recipe.schema.base import LinearSchedule, PiecewiseSchedule, SqrtSchedule

Course = float | LinearSchedule | PiecewiseSchedule  # what a Schedule key holds once validated


@dataclass(frozen=True)
class Disorder:
    """A step, and the values of the two schedules at it."""

    step: int
    lower: float
    upper: float


def first_disorder(lower: Course, upper: Course) -> Disorder | None:
    """Return the first step at which 0 <= lower < upper <= 1 does not hold, or None."""

    def is_wrong(step: int) -> bool:
        return not 0 <= _at(lower, step) < _at(upper, step) <= 1

    steps = _turning_points(lower, upper)
    wrong = next((index for index, step in enumerate(steps) if is_wrong(step)), None)
    if wrong is None:
        return None
    step = steps[wrong]
    if wrong > 0:  # the steps between are first right, then wrong from some step on
        between = range(steps[wrong - 1], step)
        step = between.start + bisect.bisect_left(between, True, key=is_wrong)
    return Disorder(step, _at(lower, step), _at(upper, step))


def _turning_points(first: Course, second: Course) -> list[int]:
    """Return the steps between which `first`, `second` and their difference are monotone."""
    breakpoints = sorted({0, *_breakpoints(first), *_breakpoints(second)})
    steps = set(breakpoints)
    for start, end in itertools.pairwise(breakpoints):
        extremum = _extremum(first, second, start, end)
        if extremum is not None and start < extremum < end:
            steps |= {math.floor(extremum), math.ceil(extremum)}
    return sorted(steps)


def _breakpoints(schedule: Course) -> list[int]:
    match schedule:
        case LinearSchedule():
            return [schedule.from_step, schedule.to_step]
        case PiecewiseSchedule():
            return [step for step, _ in schedule.points]
        case _:
            return []


def _extremum(first: Course, second: Course, start: int, end: int) -> float | None:
    """Return where the difference may have its extremum between two breakpoints, if anywhere."""
    match _root(first, start, end), _root(second, start, end):
        case (a, k), None:
            return _root_meets_line(a, k, _slope(second, start, end))
        case None, (a, k):
            return _root_meets_line(a, k, _slope(first, start, end))
        case (a, k), (b, j):
            # k / sqrt(step - a) = j / sqrt(step - b)
            ratio = (j / k) * (j / k) if k else 1.0
            return None if ratio == 1.0 else (b - ratio * a) / (1.0 - ratio)
        case _:
            return None


def _root_meets_line(a: int, k: float, m: float) -> float | None:
    """Return where the root's slope k / (2 sqrt(step - a)) is m."""
    if m == 0.0:
        return None
    root = k / (2.0 * m)
    return a + root * root


def _root(schedule: Course, start: int, end: int) -> tuple[int, float] | None:
    """Return a and k where `schedule` is a root between two breakpoints."""
    if not isinstance(schedule, SqrtSchedule):
        return None
    if not schedule.from_step <= start < end <= schedule.to_step:
        return None
    length = math.sqrt(schedule.to_step - schedule.from_step)
    return schedule.from_step, (schedule.end - schedule.start) / length


def _slope(schedule: Course, start: int, end: int) -> float:
    return (_at(schedule, end) - _at(schedule, start)) / (end - start)


def _at(schedule: Course, step: int) -> float:
    return schedule if isinstance(schedule, int | float) else schedule.value_at(step)
