"""Drawn timesteps and their weights."""

from collections.abc import Callable

import pytest
import torch

from dreamfusion_kit.guidance.timesteps import sample_timesteps, timestep_range, timestep_weight
from dreamfusion_kit.recipe.schema import LinearSchedule, SdsSection


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
