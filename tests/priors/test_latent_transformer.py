"""What all families share: precision, offload, a frozen model, and a gradient to the image."""

from pathlib import Path

import pytest
import torch

from dreamfusion_kit.errors import NumericsError
from dreamfusion_kit.priors.text import load_text, save_text

from .families.conftest import COMPONENTS, Save, build, saved
from .families.flows import draw, images

__all__ = ["saved"]

FAMILIES = sorted(COMPONENTS)
TIMESTEP = torch.tensor([500, 20])
TOKENS = {"pixart_sigma": 16, "qwen_image": 150}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prediction_is_frozen_and_the_image_gets_a_gradient(saved: Save, family: str) -> None:
    prior = build(saved(family), text_tokens=TOKENS.get(family, 64))
    pictures = images().repeat(2, 1, 1, 1).requires_grad_()
    latents = prior.to_model_space(pictures)
    text = prior.encode_text(["a", ""])
    noise = draw(*latents.shape)
    noisy = (
        prior.alpha_t(TIMESTEP)[:, None, None, None] * latents
        + prior.sigma_t(TIMESTEP)[:, None, None, None] * noise
    )
    epsilon = prior.predict(noisy, TIMESTEP, text)
    assert not epsilon.requires_grad
    assert epsilon.dtype == torch.float32
    (gradient,) = torch.autograd.grad(latents, pictures, epsilon)
    assert bool(gradient.abs().sum(dim=(1, 2, 3)).all())


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_and_offload_are_near(saved: Save, family: str) -> None:
    directory = saved(family)
    tokens = TOKENS.get(family, 64)
    exact = build(directory, text_tokens=tokens)
    latents = exact.to_model_space(images())
    text = exact.encode_text(["a"])
    timestep = TIMESTEP[:1]
    expected = exact.predict(latents, timestep, text)
    half = build(directory, text_tokens=tokens, dtype="bfloat16", cpu_offload=True)
    found = half.predict(latents, timestep, text)
    assert found.dtype == torch.float32
    assert float((found - expected).norm()) < 0.05 * float(expected.norm())


@pytest.mark.parametrize("family", FAMILIES)
def test_features_survive_their_file(saved: Save, tmp_path: Path, family: str) -> None:
    prior = build(saved(family), text_tokens=TOKENS.get(family, 64))
    text = prior.encode_text(["a b", ""])
    save_text(tmp_path / "text.safetensors", text, {"front": "a b", "unconditional": ""})
    found, _ = load_text(tmp_path / "text.safetensors")
    latents = prior.to_model_space(images()).repeat(2, 1, 1, 1)
    expected = prior.predict(latents, TIMESTEP, text)
    torch.testing.assert_close(prior.predict(latents, TIMESTEP, found), expected)


def test_latents_that_overflow_are_named(saved: Save) -> None:
    prior = build(saved("z_image"))
    with pytest.raises(NumericsError, match=r"prior\.vae_dtype"):
        prior.to_model_space(images() + float("inf"))
