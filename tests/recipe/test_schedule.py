"""Schedules against the values that DreamFusion's own annealings take."""

import pytest

from dreamfusion_kit.recipe.schedule import value_at
from dreamfusion_kit.recipe.schema import LinearSchedule


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
