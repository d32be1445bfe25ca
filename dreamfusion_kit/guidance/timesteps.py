"""Which timesteps a guidance draws, and how much each of them weighs (w(t))."""

from typing import Literal, assert_never

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion_kit.recipe.schedule import value_at
from dreamfusion_kit.recipe.schema import ScoreGuidanceSection

WeightName = Literal["sigma_squared", "uniform", "sigma_over_alpha"]


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
