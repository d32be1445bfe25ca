"""PixArt-Sigma in miniature, against diffusers' own pipeline."""

import torch
from diffusers import PixArtSigmaPipeline

from .conftest import Save, build, own_prediction
from .flows import draw

PROMPT = "a red mug"


def test_epsilon_is_the_pipeline_s(saved: Save) -> None:
    directory = saved("pixart_sigma")
    noisy = draw(1, 4, 8, 8)
    own, timestep = own_prediction(
        PixArtSigmaPipeline,
        directory,
        noisy,
        PROMPT,
        height=16,
        width=16,
        use_resolution_binning=False,
        num_inference_steps=3,
        guidance_scale=3.0,
        clean_caption=False,
        max_sequence_length=16,
    )
    prior = build(directory, text_tokens=16)
    text = prior.encode_text([PROMPT, ""])
    both = prior.predict(noisy.repeat(2, 1, 1, 1), torch.full((2,), int(timestep)), text)
    found = both[1:] + 3.0 * (both[:1] - both[1:])
    torch.testing.assert_close(found, own, rtol=1e-3, atol=1e-4)


def test_its_schedule_is_that_of_its_betas(saved: Save) -> None:
    prior = build(saved("pixart_sigma"), text_tokens=16)
    betas = torch.linspace(0.0001, 0.02, 1000, dtype=torch.float64)
    expected = (1 - betas).cumprod(0).float()
    torch.testing.assert_close(prior.schedule.alpha_bar, expected, rtol=1e-4, atol=1e-7)
