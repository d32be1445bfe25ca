"""The order of two schedules, with a walk over all steps as the oracle."""

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dreamfusion_kit.recipe.schedule import value_at
from dreamfusion_kit.recipe.schema import LinearSchedule, PiecewiseSchedule, SqrtSchedule
from dreamfusion_kit.recipe.schema.order import first_disorder

Course = float | LinearSchedule | PiecewiseSchedule
_LAST_STEP = 60


def _walked(lower: Course, upper: Course) -> int | None:
    def is_wrong(step: int) -> bool:
        return not 0 <= value_at(lower, step) < value_at(upper, step) <= 1

    return next((step for step in range(_LAST_STEP + 2) if is_wrong(step)), None)


_value = st.floats(0, 1.02, allow_subnormal=True)
_step = st.integers(0, _LAST_STEP)


@st.composite
def _ramps(draw: Callable[..., float], root: bool) -> LinearSchedule:
    first, last = sorted(draw(st.tuples(_step, _step).filter(lambda pair: pair[0] != pair[1])))
    keys = {"start": draw(_value), "end": draw(_value), "from_step": first, "to_step": last}
    return SqrtSchedule(**keys, curve="sqrt") if root else LinearSchedule(**keys)


@st.composite
def _pieces(draw: Callable[..., list[int]]) -> PiecewiseSchedule:
    steps = sorted(draw(st.sets(_step, min_size=2, max_size=6)))
    return PiecewiseSchedule(points=tuple((step, draw(_value)) for step in steps))


_courses = _value | _ramps(root=False) | _ramps(root=True) | _pieces()


@settings(deadline=None, max_examples=1000)  # a busy machine is not a failure
@given(_courses, _courses)
@example(
    SqrtSchedule(start=0.0, end=0.9, from_step=0, to_step=50, curve="sqrt"),
    SqrtSchedule(start=0.3, end=0.95, from_step=0, to_step=60, curve="sqrt"),
)
@example(
    LinearSchedule(start=0.0, end=0.79, from_step=0, to_step=50),
    PiecewiseSchedule(points=((0, 0.1), (49, 0.8))),
)
def test_the_first_step_out_of_order_is_found(lower: Course, upper: Course) -> None:
    found = first_disorder(lower, upper)
    expected = _walked(lower, upper)
    if found is None or expected is None:
        assert found is None
        assert expected is None
    else:
        assert found.step == expected
        assert (found.lower, found.upper) == (value_at(lower, expected), value_at(upper, expected))


def test_a_root_and_a_line_meet_between_their_ends() -> None:
    """sqrt(s / 100) - s / 100 is largest at s = 25, where it is 1 / 4."""
    root = SqrtSchedule(start=0.0, end=0.7, from_step=0, to_step=100, curve="sqrt")
    for gap, expected in ((0.18, None), (0.174, 22)):
        line = LinearSchedule(start=gap, end=0.7 + gap, from_step=0, to_step=100)
        found = first_disorder(root, line)
        assert (found.step if found else None) == expected


@pytest.mark.parametrize("to_step", [10**7, 10**9])
def test_long_roots_are_not_walked(to_step: int, count_calls: Callable[..., int]) -> None:
    upper = SqrtSchedule(start=0.98, end=0.5, from_step=0, to_step=to_step, curve="sqrt")
    lower = LinearSchedule(start=0.02, end=0.45, from_step=0, to_step=to_step)
    assert first_disorder(lower, upper) is None
    wrong = first_disorder(lower.model_copy(update={"end": 0.6}), upper)
    calls = count_calls(first_disorder, lower, upper)
    assert calls < 10_000  # a hundred
    assert wrong is not None
    assert wrong.lower >= wrong.upper
    assert value_at(lower.model_copy(update={"end": 0.6}), wrong.step - 1) < value_at(
        upper, wrong.step - 1
    )


def test_the_cost_of_many_points_is_in_proportion(
    count_calls: Callable[..., int],
) -> None:
    few, many = (
        PiecewiseSchedule(points=tuple((step, 0.9) for step in range(number)))
        for number in (1000, 10_000)
    )
    assert first_disorder(0.02, many) is None
    assert [value_at(many, step) for step in range(0, 12_000, 7)] == [0.9] * 1715
    costs = [count_calls(first_disorder, 0.02, points) for points in (few, many)]
    values = [count_calls(value_at, points, 500) for points in (few, many)]
    assert costs[1] < 12 * costs[0]
    assert values[1] < 12 * values[0]
