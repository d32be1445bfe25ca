"""Which shares are called out of proportion, on made-up histories."""

from collections.abc import Callable
from typing import Any

import pytest

from dreamfusion_kit.optimize.metrics import StepMetrics
from dreamfusion_kit.optimize.proportion import complaints, new_complaints
from dreamfusion_kit.optimize.shares import GradientNorms
from dreamfusion_kit.recipe.schema import LinearSchedule, PenaltiesSection


def step(opacity: float | None = None, entropy: float = 0.0) -> StepMetrics:
    """Return a step with that share of opacity and entropy, or one that was not measured."""
    norms = None
    if opacity is not None:
        norms = GradientNorms(1.0, 2.0, 2 * opacity, 0.0, 2 * entropy, 0.0, 0.0)
    return StepMetrics(0.5, 1.0, 4096.0, 0.0, 0.5, norms)


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ([0.01] * 9, []),
        ([2.0] * 4, []),  # too few to judge
        ([2.0] * 5, ["lower"]),
        ([2.0, 0.5, 2.0, 0.5, 2.0], ["lower"]),
        ([9e9, 0.5, 9e9, 0.5, 0.5], []),  # views at little noise
        ([9e-5] * 8, ["raise"]),
        ([2.0] * 5 + [9e-5] * 5, ["lower", "raise"]),
    ],
)
def test_the_median_of_five_measurements_decides(
    penalties: Callable[..., PenaltiesSection], shares: list[float], expected: list[str]
) -> None:
    history = [s for share in shares for s in (step(share), step())]
    found = complaints(penalties(opacity_lambda=1.0), history)
    assert [line.rpartition("; ")[2].split()[0] for line in found] == expected
    assert all(line.endswith("optimize.penalties.opacity_lambda") for line in found)


def test_each_complaint_is_new_once(penalties: Callable[..., PenaltiesSection]) -> None:
    section = penalties(opacity_lambda=1.0)
    history: list[StepMetrics] = []
    heard: list[Any] = []
    for share in [2.0] * 9 + [1e-5] * 9:
        for metrics in (step(share), step()):
            history.append(metrics)
            heard += [(len(history) - 1, line) for line in new_complaints(section, history)]
    assert [at for at, _ in heard] == [8, 22]
    assert [line for _, line in heard] == complaints(section, history)


def test_a_schedule_may_begin_weak(penalties: Callable[..., PenaltiesSection]) -> None:
    rising = LinearSchedule(start=0.0, end=1.0, from_step=0, to_step=10)
    section = penalties(opacity_lambda=1.0, entropy_lambda=rising)
    weak = [step(0.01, 1e-5)] * 14
    assert complaints(section, weak) == []
    (found,) = complaints(section, [*weak, step(0.01, 1e-5)])  # five of them from step 10 on
    assert found == (
        "step 14: the entropy penalty's gradient is 1e-05 of the guidance's (median of 5 "
        "measurements), expected 0.0001 to 1; raise optimize.penalties.entropy_lambda"
    )


def test_without_guidance_every_penalty_is_too_strong(
    penalties: Callable[..., PenaltiesSection],
) -> None:
    dark = StepMetrics(0.5, 0.0, 0.0, 0.0, 0.5, GradientNorms(0, 0, 1e-9, 0, 0, 0, 0))
    (found,) = complaints(penalties(opacity_lambda=1.0), [dark] * 5)
    assert "is inf of the guidance's" in found
