"""FLUX.2 klein base in miniature, against diffusers' own pipeline."""

import torch
from diffusers import AutoencoderKLFlux2, Flux2KleinPipeline

from .conftest import Save, build, own_prediction
from .flows import PROMPT, TIME, draw, guided, images, load


def test_the_velocity_is_the_pipeline_s(saved: Save) -> None:
    directory = saved("flux2_klein")
    mixed = draw(1, 16, 4, 4)
    own, timestep = own_prediction(
        Flux2KleinPipeline,
        directory,
        mixed,
        PROMPT,
        height=16,
        width=16,
        sigmas=[TIME],
        guidance_scale=3.0,
        max_sequence_length=300,
    )
    assert timestep / 1000 == torch.tensor(TIME)
    expected = own.transpose(1, 2).reshape(mixed.shape)  # one token a place, row by row
    found = guided(build(directory), mixed, 3.0)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_latents_are_normalised_patches(saved: Save) -> None:
    directory = saved("flux2_klein")
    vae = load(AutoencoderKLFlux2, directory, "vae")
    with torch.no_grad():
        mean = vae.encode(2 * images() - 1).latent_dist.mean
    patches = torch.nn.functional.pixel_unshuffle(mean, 2)
    centre, spread = vae.bn.running_mean, (vae.bn.running_var + 1e-4).sqrt()
    expected = (patches - centre[:, None, None]) / spread[:, None, None]
    torch.testing.assert_close(build(directory).to_model_space(images()), expected)


def test_latents_are_counted_before_they_are_folded(saved: Save) -> None:
    prior = build(saved("flux2_klein"))
    latents = prior.to_model_space(images())
    assert latents.shape[-1] == images().shape[-1] // 4
    assert prior.num_pixels(latents) == (images().shape[-1] // 2) ** 2
