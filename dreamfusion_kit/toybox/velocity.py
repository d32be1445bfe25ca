"""The loss of the toybox's U-Nets: the squared error of v (Salimans & Ho 2022, app. D)."""

from typing import Any

import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from jaxtyping import Float
from torch import Tensor, nn

from dreamfusion_kit.toybox.training import mixed_precision


def velocity_loss(
    unet: nn.Module,
    scheduler: DDPMScheduler,
    clean: Float[Tensor, "batch channels height width"],
    noise: Float[Tensor, "batch channels height width"],
    times: Float[Tensor, " batch"],
    text: Float[Tensor, "batch tokens features"],
) -> Float[Tensor, ""]:
    """Return the mean squared error of v = alpha_t eps - sigma_t x at times in [0, 1).

    `unet` is called as diffusers' `UNet2DConditionModel` is.
    """
    between: Any = scheduler  # Its stubs ask for int32 timesteps; any integer will do.
    timesteps = (times * between.config["num_train_timesteps"]).long()
    noisy = between.add_noise(clean, noise, timesteps)
    velocity = between.get_velocity(clean, noise, timesteps)
    noisy = noisy.contiguous(memory_format=torch.channels_last)
    with mixed_precision(clean.device):
        predicted = unet(noisy, timesteps, text).sample
    return torch.nn.functional.mse_loss(predicted.float(), velocity)
