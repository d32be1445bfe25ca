"""Drawn timesteps and their weights."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.guidance.timesteps import (
    refuse_pure_noise,
    sample_timesteps,
    timestep_range,
    timestep_weight,
)
from dreamfusion_kit.priors.base import NoiseSchedule
from dreamfusion_kit.recipe.schema import LinearSchedule, PiecewiseSchedule, SdsSection


def test_dreamfusions_range_is_drawn_evenly_ends_included(
    guidance: Callable[..., SdsSection],
) -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = sample_timesteps(guidance(), 0, 200_000, 1000, generator=generator)
    assert drawn.min() == 20
    assert drawn.max() == 980
    counts = torch.bincount(drawn)[20:].double()
    expected = 200_000 / 961
    chi_squared = float(((counts - expected).square() / expected).sum())
    assert chi_squared == pytest.approx(960, abs=5 * (2 * 960) ** 0.5)


def test_the_whole_range_stays_on_the_schedule(guidance: Callable[..., SdsSection]) -> None:
    assert timestep_range(guidance(timestep_min=0.0, timestep_max=1.0), 0, 1000) == (0, 999)


def test_annealing_moves_the_upper_end(guidance: Callable[..., SdsSection]) -> None:
    falling = LinearSchedule(start=0.98, end=0.5, from_step=100, to_step=300)
    section = guidance(timestep_max=falling)
    ends = [timestep_range(section, step, 1000)[1] for step in (0, 100, 200, 300, 900)]
    assert ends == [980, 980, 740, 500, 500]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("sigma_squared", 0.36), ("uniform", 1.0), ("sigma_over_alpha", 0.75)],
)
def test_weights(name: str, expected: float) -> None:
    weight = timestep_weight(name, torch.tensor([0.8]), torch.tensor([0.6]))  # type: ignore[arg-type]
    torch.testing.assert_close(weight, torch.tensor([expected]))


ZERO_TERMINAL_SNR = NoiseSchedule(torch.linspace(1, 0, 101)[1:])
DIVIDING = [("sjc", {}), ("sds", {"timestep_weight": "sigma_over_alpha"})]
UP_TO_THE_END = [
    1.0,
    0.995,
    LinearSchedule(start=1.0, end=0.5, from_step=0, to_step=9),
    LinearSchedule(start=0.5, end=1.0, from_step=0, to_step=9),
    PiecewiseSchedule(points=((0, 0.5), (4, 1.0), (5, 0.5))),
]


@pytest.mark.parametrize(("kind", "changes"), DIVIDING)
@pytest.mark.parametrize("timestep_max", UP_TO_THE_END)
def test_where_no_signal_is_left_nothing_divides_by_it(
    guidance: Callable[..., Any], kind: str, changes: dict[str, Any], timestep_max: Any
) -> None:
    section = guidance(kind, **changes, timestep_max=timestep_max)
    with pytest.raises(RecipeError, match=r"^guidance\.timestep_max: .* no signal left") as caught:
        refuse_pure_noise(section, ZERO_TERMINAL_SNR)
    assert len(str(caught.value).splitlines()) == 1
    # Below the last timestep, and where some signal is left, the ratio is a number.
    refuse_pure_noise(guidance(kind, **changes, timestep_max=0.98), ZERO_TERMINAL_SNR)
    refuse_pure_noise(section, NoiseSchedule(torch.linspace(1, 2.4e-9, 101)[1:]))


@pytest.mark.parametrize("weight", ["sigma_squared", "uniform"])
def test_other_weights_are_defined_at_pure_noise(guidance: Callable[..., Any], weight: str) -> None:
    section = guidance(timestep_max=1.0, timestep_weight=weight)
    refuse_pure_noise(section, ZERO_TERMINAL_SNR)
