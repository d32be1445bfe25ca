"""Z-Image in miniature, against diffusers' own pipeline."""

import torch
from diffusers import AutoencoderKL, ZImagePipeline

from .conftest import Save, build, own_prediction
from .flows import PROMPT, TIME, draw, guided, images, load, velocity


def test_the_velocity_is_the_pipeline_s(saved: Save) -> None:
    directory = saved("z_image")
    mixed = draw(1, 4, 8, 8)
    own, timestep = own_prediction(
        ZImagePipeline,
        directory,
        mixed,
        PROMPT,
        height=16,
        width=16,
        sigmas=[TIME],
        guidance_scale=2.0,  # the pipeline adds it to 1
        max_sequence_length=300,
    )
    assert timestep / 1000 == torch.tensor(TIME)
    found = guided(build(directory), mixed, 3.0)
    torch.testing.assert_close(found, own, rtol=1e-3, atol=1e-4)


def test_a_row_does_not_see_the_padding_of_another(saved: Save) -> None:
    prior = build(saved("z_image"))
    mixed, timestep = draw(2, 4, 8, 8), torch.tensor([600, 600])
    together = prior.predict(mixed, timestep, prior.encode_text([PROMPT, "a"]))
    alone = prior.predict(mixed[1:], timestep[1:], prior.encode_text(["a"]))
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(velocity(prior, mixed, PROMPT), velocity(prior, mixed, "a"))


def test_latents_are_shifted_and_scaled(saved: Save) -> None:
    directory = saved("z_image")
    with torch.no_grad():
        mean = load(AutoencoderKL, directory, "vae").encode(2 * images() - 1).latent_dist.mean
    expected = (mean - 0.1159) * 0.3611
    torch.testing.assert_close(build(directory).to_model_space(images()), expected)
