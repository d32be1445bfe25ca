"""The time and the input of a flow, from the levels of a diffusion."""

import torch

from dreamfusion_kit.priors.flow import flow_input, flow_schedule


def test_the_levels_are_the_flow_s_and_preserve_variance() -> None:
    schedule = flow_schedule(1000, "cpu")
    timestep = torch.arange(1000)
    alpha_t, sigma_t = schedule.alpha_t(timestep), schedule.sigma_t(timestep)
    torch.testing.assert_close(alpha_t**2 + sigma_t**2, torch.ones(1000))
    # The noise-to-signal ratio is that of (1 - t) x + t epsilon.
    t = (timestep + 0.5) / 1000
    torch.testing.assert_close(sigma_t / alpha_t, t / (1 - t), rtol=1e-4, atol=0)
    assert alpha_t[-1] > 0
    assert sigma_t[0] > 0


def test_the_network_reads_the_straight_line_at_its_own_time() -> None:
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 3, 4, 8, 8, generator=generator)
    timestep = torch.tensor([0, 249, 999])
    schedule = flow_schedule(1000, "cpu")
    alpha_t, sigma_t = schedule.alpha_t(timestep), schedule.sigma_t(timestep)
    noisy = alpha_t[:, None, None, None] * clean + sigma_t[:, None, None, None] * noise
    mixed, time = flow_input(noisy, alpha_t, sigma_t)
    expected = torch.tensor([0.0005, 0.2495, 0.9995])
    torch.testing.assert_close(time, expected, rtol=1e-6, atol=0)
    t = expected[:, None, None, None]
    torch.testing.assert_close(mixed, (1 - t) * clean + t * noise, rtol=1e-5, atol=1e-6)
