"""Qwen-Image in miniature, against diffusers' own pipeline."""

import pytest
import torch
from diffusers import AutoencoderKLQwenImage, QwenImagePipeline

from .conftest import Save, build, own_prediction
from .flows import PROMPT, TIME, draw, images, load, velocity


@pytest.mark.parametrize("prompt", [PROMPT, ""])
def test_the_velocity_is_the_pipeline_s(saved: Save, prompt: str) -> None:
    """Without guidance: the pipeline rescales it, and asks for each text on its own."""
    directory = saved("qwen_image")
    mixed = draw(1, 4, 8, 8)
    patches = mixed.reshape(1, 4, 4, 2, 4, 2).permute(0, 2, 4, 1, 3, 5).reshape(1, 16, 16)
    own, timestep = own_prediction(
        QwenImagePipeline,
        directory,
        patches,
        prompt,
        height=16,
        width=16,
        sigmas=[TIME],
        true_cfg_scale=1.0,
    )
    assert timestep / 1000 == torch.tensor(TIME)
    expected = own.reshape(1, 4, 4, 4, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(mixed.shape)
    found = velocity(build(directory, text_tokens=1024), mixed, prompt)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_a_row_does_not_see_the_padding_of_another(saved: Save) -> None:
    prior = build(saved("qwen_image"))
    mixed, timestep = draw(2, 4, 8, 8), torch.tensor([600, 600])
    together = prior.predict(mixed, timestep, prior.encode_text([PROMPT, "a"]))
    alone = prior.predict(mixed[1:], timestep[1:], prior.encode_text(["a"]))
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-5)


def test_latents_are_normalised_by_channel(saved: Save) -> None:
    directory = saved("qwen_image")
    vae = load(AutoencoderKLQwenImage, directory, "vae")
    with torch.no_grad():
        mean = vae.encode((2 * images() - 1)[:, :, None]).latent_dist.mean[:, :, 0]
    expected = torch.stack(
        [
            (mean[:, index] - centre) / spread
            for index, (centre, spread) in enumerate(
                zip((0.1, -0.2, 0.3, 0.4), (1.5, 0.5, 2.0, 1.0), strict=True)
            )
        ],
        dim=1,
    )
    torch.testing.assert_close(build(directory).to_model_space(images()), expected)
