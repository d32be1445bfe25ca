"""Which timesteps a guidance draws, and how much each of them weighs (w(t))."""

from typing import Literal, assert_never

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.priors.base import NoiseSchedule
from dreamfusion_kit.recipe.schedule import value_at
from dreamfusion_kit.recipe.schema import (
    LinearSchedule,
    PiecewiseSchedule,
    ScoreGuidanceSection,
    SjcSection,
)

WeightName = Literal["sigma_squared", "uniform", "sigma_over_alpha"]

# Below this signal level sigma_t / alpha_t says nothing that float32 can use.
MIN_ALPHA_TO_DIVIDE_BY = 1e-6


def timestep_range(
    section: ScoreGuidanceSection, step: int, num_train_timesteps: int
) -> tuple[int, int]:
    """Return the lowest and highest timestep at optimiser step `step`, both included."""
    last = num_train_timesteps - 1
    lower = round(value_at(section.timestep_min, step) * num_train_timesteps)
    upper = round(value_at(section.timestep_max, step) * num_train_timesteps)
    return min(lower, last), min(upper, last)


def sample_timesteps(
    section: ScoreGuidanceSection,
    step: int,
    batch: int,
    num_train_timesteps: int,
    *,
    generator: torch.Generator,
) -> Int[Tensor, " batch"]:
    """Draw one timestep per image, uniform over the step's range (DreamFusion, s. 3.2)."""
    lower, upper = timestep_range(section, step, num_train_timesteps)
    return torch.randint(lower, upper + 1, (batch,), generator=generator, device=generator.device)


def timestep_weight(
    name: WeightName, alpha_t: Float[Tensor, " batch"], sigma_t: Float[Tensor, " batch"]
) -> Float[Tensor, " batch"]:
    """Return w(t): DreamFusion's `sigma_t^2`, 1, or `sigma_t / alpha_t` (x0 loss, MVDream)."""
    match name:
        case "sigma_squared":
            return sigma_t.square()
        case "uniform":
            return torch.ones_like(sigma_t)
        case "sigma_over_alpha":
            return sigma_t / alpha_t
        case _:
            assert_never(name)


def refuse_pure_noise(section: ScoreGuidanceSection, schedule: NoiseSchedule) -> None:
    """Raise RecipeError where sigma_t / alpha_t is asked for at a timestep without signal.

    Schedules with zero terminal SNR (Lin et al. 2023, s. 3.1) end in such a timestep.
    """
    num_timesteps = len(schedule.alpha_bar)
    highest = _highest(section.timestep_max)
    last = min(round(highest * num_timesteps), num_timesteps - 1)
    alpha_t = float(schedule.alpha_bar[last].sqrt())
    if section.divides_by_signal and alpha_t < MIN_ALPHA_TO_DIVIDE_BY:
        asks = "kind sjc" if isinstance(section, SjcSection) else "timestep_weight sigma_over_alpha"
        raise RecipeError(
            f"guidance.timestep_max: found {highest:g}, where this prior's schedule has no signal "
            f"left (alpha_t = {alpha_t:.3g}) and guidance.{asks} divides by it; expected a "
            "timestep with signal; set guidance.timestep_max to 0.98"
        )


def _highest(schedule: float | LinearSchedule | PiecewiseSchedule) -> float:
    match schedule:
        case LinearSchedule():
            return max(schedule.start, schedule.end)
        case PiecewiseSchedule():
            return max(value for _, value in schedule.points)
        case _:
            return schedule
