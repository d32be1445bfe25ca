"""The loss of the U-Nets against its formula."""

from types import SimpleNamespace
from typing import Any

import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from torch import nn

from dreamfusion_kit.toybox.velocity import velocity_loss

SCHEDULER = DDPMScheduler(beta_schedule="squaredcos_cap_v2", prediction_type="v_prediction")


class Echo(nn.Module):
    """Predicts what it is shown, and keeps the timesteps."""

    def forward(self, noisy: torch.Tensor, timesteps: torch.Tensor, text: torch.Tensor) -> Any:
        self.noisy, self.timesteps, self.text = noisy, timesteps, text
        return SimpleNamespace(sample=noisy)


def test_the_loss_is_the_squared_error_of_v() -> None:
    """At x_t = a x + s e the echo's error is x_t - (a e - s x)."""
    draw = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 3, 4, 5, 6, generator=draw)
    times, text = torch.tensor([0.0, 0.5, 0.9999]), torch.randn(3, 7, 8, generator=draw)
    unet = Echo()
    loss = velocity_loss(unet, SCHEDULER, clean, noise, times, text)
    assert unet.timesteps.tolist() == [0, 500, 999]
    assert torch.equal(unet.text, text)
    alpha_bar = SCHEDULER.alphas_cumprod[unet.timesteps].view(3, 1, 1, 1)
    alpha, sigma = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
    noisy = alpha * clean + sigma * noise
    torch.testing.assert_close(unet.noisy, noisy)
    expected = (noisy - (alpha * noise - sigma * clean)).square().mean()
    torch.testing.assert_close(loss, expected)
