"""A rectified flow behind the variance-preserving notation; `prediction.py` derives it.

Timestep i of N stands for the flow's time t = (i + 1/2) / N, so a recipe's `timestep_min` and
`timestep_max` are fractions of that time. A scheduler's `shift`, which only spaces a sampler's
steps, is not read.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.priors.noise_schedule import NoiseSchedule

NUM_TRAIN_TIMESTEPS = 1000


def flow_schedule(num_timesteps: int, device: torch.device | str) -> NoiseSchedule:
    """Return the levels of x_t divided by its length, at the middle t of each interval."""
    t = (torch.arange(num_timesteps, dtype=torch.float64) + 0.5) / num_timesteps
    squared_length = (1 - t).square() + t.square()
    alpha_bar, noise_bar = (1 - t).square() / squared_length, t.square() / squared_length
    return NoiseSchedule(
        alpha_bar.to(torch.float32).to(device), noise_bar.to(torch.float32).to(device)
    )


def flow_input(
    noisy: Float[Tensor, "batch channels height width"],
    alpha_t: Float[Tensor, " batch"],
    sigma_t: Float[Tensor, " batch"],
) -> tuple[Float[Tensor, "batch channels height width"], Float[Tensor, " batch"]]:
    """Return what a flow's network reads: x_t = (1 - t) x + t epsilon, and t."""
    length = alpha_t + sigma_t
    return noisy / length[:, None, None, None], sigma_t / length
