"""The autoencoder's initial weights against pooling by hand."""

import pytest
import torch

from dreamfusion_kit.toybox.latent_settings import VaeTrainingSection
from dreamfusion_kit.toybox.vae_model import decoded, make_vae, scaled_latents


@pytest.mark.parametrize("channels", [(16, 16, 32, 64), (8, 16)])
def test_a_new_vae_pools_the_image(
    vae_settings: VaeTrainingSection, channels: tuple[int, ...]
) -> None:
    """It returns about the mean of each block of pixels, of smooth images over plain greys."""
    settings = vae_settings.model_copy(update={"block_out_channels": channels})
    vae = make_vae(settings, 32)
    block = 2 ** (len(channels) - 1)
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand(4, 3, 4, 4, generator=draw) * 0.6 + 0.2
    images = torch.nn.functional.interpolate(coarse, 32, mode="bilinear").permute(0, 2, 3, 1)
    with torch.no_grad():
        found = decoded(vae, scaled_latents(vae, images)).permute(0, 3, 1, 2)
    planes = images.permute(0, 3, 1, 2)
    pooled = torch.nn.functional.avg_pool2d(planes, block)
    expected = torch.nn.functional.interpolate(pooled, scale_factor=block)
    assert (found - expected).abs().mean() < 0.35 * (expected - expected.mean()).abs().mean()
