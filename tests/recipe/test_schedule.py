"""Schedules against the values that DreamFusion's own annealings take."""

import pytest
from pydantic import ValidationError

from dreamfusion_kit.recipe.schedule import value_at
from dreamfusion_kit.recipe.schema import (
    LinearSchedule,
    PiecewiseSchedule,
    SizeSchedule,
    SqrtSchedule,
)


def test_a_number_is_constant() -> None:
    assert value_at(0.02, 0) == value_at(0.02, 10**9) == 0.02


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.05), (1000, 0.0404), (2500, 0.026), (5000, 0.002), (15000, 0.002)]
)
def test_dreamfusion_covariance_annealing(step: int, expected: float) -> None:
    schedule = LinearSchedule(start=0.05, end=0.002, from_step=0, to_step=5000)
    assert value_at(schedule, step) == pytest.approx(expected, rel=1e-12)


def test_the_ends_are_exact() -> None:
    schedule = LinearSchedule(start=0.1, end=0.3, from_step=10, to_step=13)
    assert [value_at(schedule, step) for step in (0, 10, 13, 99)] == [0.1, 0.1, 0.3, 0.3]


def test_the_square_root_is_fast_first() -> None:
    """HiFA's annealing: t_max - (t_max - t_min) sqrt(step / steps)."""
    schedule = SqrtSchedule(start=0.98, end=0.02, from_step=0, to_step=400, curve="sqrt")
    expected = [0.98, 0.98 - 0.96 * 0.5, 0.98 - 0.96 * 0.9, 0.02, 0.02]
    found = [value_at(schedule, step) for step in (0, 100, 324, 400, 900)]
    assert found == pytest.approx(expected, abs=1e-12)
    assert (found[0], found[-1]) == (0.98, 0.02)


def test_pieces_meet_at_their_points_and_may_jump() -> None:
    """ProlificDreamer's: 0.98, and 0.5 from step 5000 on."""
    schedule = PiecewiseSchedule(points=((100, 0.98), (4999, 0.98), (5000, 0.5), (6000, 0.2)))
    found = [value_at(schedule, step) for step in (0, 100, 3000, 4999, 5000, 5500, 6000, 10**6)]
    assert found == pytest.approx([0.98, 0.98, 0.98, 0.98, 0.5, 0.35, 0.2, 0.2], abs=1e-12)
    assert (found[0], found[4], found[-1]) == (0.98, 0.5, 0.2)


def test_a_size_holds_until_the_next_step() -> None:
    schedule = SizeSchedule(sizes=((0, 64), (5000, 512), (8000, 256)))
    steps = (0, 4999, 5000, 7999, 8000, 10**9)
    assert [schedule.value_at(step) for step in steps] == [64, 64, 512, 512, 256, 256]
    assert SizeSchedule(sizes=((0, 7),)).value_at(3) == 7


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (((1, 64),), "found step 1 first, expected 0"),
        (((0, 64), (5, 32), (5, 16)), "found step 5 after step 5, expected rising steps"),
    ],
)
def test_sizes_begin_at_zero_and_their_steps_rise(sizes: object, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        SizeSchedule.model_validate({"sizes": sizes})
