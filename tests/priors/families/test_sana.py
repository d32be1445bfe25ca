"""Sana in miniature, against diffusers' own pipeline."""

import torch
from diffusers import AutoencoderDC, SanaPipeline

from .conftest import Save, build, own_prediction
from .flows import PROMPT, TIME, draw, guided, images, load


def test_the_velocity_is_the_pipeline_s(saved: Save) -> None:
    """Its instruction stands before the prompt, and not before the empty one."""
    directory = saved("sana")
    mixed = draw(1, 4, 8, 8)
    own, timestep = own_prediction(
        SanaPipeline,
        directory,
        mixed,
        PROMPT,
        height=32,
        width=32,
        use_resolution_binning=False,
        sigmas=[TIME],
        num_inference_steps=None,
        guidance_scale=3.0,
    )
    assert timestep / 1000 == torch.tensor(TIME)
    found = guided(build(directory), mixed, 3.0)
    torch.testing.assert_close(found, own, rtol=1e-3, atol=1e-4)


def test_latents_are_scaled(saved: Save) -> None:
    directory = saved("sana")
    with torch.no_grad():
        latents = load(AutoencoderDC, directory, "vae").encode(2 * images() - 1).latent
    torch.testing.assert_close(build(directory).to_model_space(images()), latents * 0.41407)
