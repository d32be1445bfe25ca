"""Stable Diffusion and SDXL in miniature: against the libraries' own calls, and in SDS."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, PNDMScheduler, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from dreamfusion_kit.errors import NumericsError, WeightsError
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.priors.text import TextFeatures, load_text, save_text
from dreamfusion_kit.recipe.schema import LatentUnetSection as Section
from dreamfusion_kit.recipe.schema import LocalSourceSection

PROMPTS = ["a red mug", ""]
TIMESTEP = torch.tensor([300, 800])


def section(**changes: Any) -> Section:
    keys = {
        "kind": "latent_unet",
        "source": LocalSourceSection(kind="local", path="somewhere"),
        "dtype": "float32",
        "vae_dtype": "float32",
        "image_size_px": 16,
        "cpu_offload": False,
        "storage_dtype": None,
        "vae": None,
        "loras": (),
        "textual_inversions": (),
        "long_prompts": "refuse",
    }
    return Section.model_validate(keys | changes)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def test_stable_diffusion_is_what_its_folders_say(
    stable_diffusion: Path, images: torch.Tensor
) -> None:
    prior = build_prior(section(), stable_diffusion, "cpu")
    latents = prior.to_model_space(images)
    found = prior.predict(latents, TIMESTEP, prior.encode_text(PROMPTS))

    vae = AutoencoderKL.from_pretrained(stable_diffusion / "vae").eval()
    unet = UNet2DConditionModel.from_pretrained(stable_diffusion / "unet").eval()
    encoder = CLIPTextModel.from_pretrained(stable_diffusion / "text_encoder").eval()
    tokenizer = CLIPTokenizer.from_pretrained(stable_diffusion / "tokenizer")
    tokens = tokenizer(PROMPTS, padding="max_length", return_tensors="pt").input_ids
    larger = torch.nn.functional.interpolate(images, (16, 16), mode="bilinear", antialias=True)
    with torch.no_grad():
        expected = vae.encode(2 * larger - 1).latent_dist.mean * 0.18215
        epsilon = unet(expected, TIMESTEP, encoder(tokens).last_hidden_state).sample
    torch.testing.assert_close(latents, expected)
    torch.testing.assert_close(found, epsilon, rtol=1e-4, atol=1e-5)
    alpha_bar = PNDMScheduler.from_pretrained(stable_diffusion / "scheduler").alphas_cumprod
    torch.testing.assert_close(prior.alpha_t(TIMESTEP) ** 2, alpha_bar[TIMESTEP])


def test_sdxl_reads_two_encoders_a_pooled_row_and_the_size(
    stable_diffusion_xl: Path, images: torch.Tensor
) -> None:
    prior = build_prior(section(), stable_diffusion_xl, "cpu")
    text = prior.encode_text(PROMPTS)
    assert text.tensors["hidden"].shape == (2, 16, 20)
    assert text.tensors["pooled"].shape == (2, 8)
    # The empty prompt is zeros, as in training; the other is not.
    assert not text.tensors["hidden"][1].any()
    assert not text.tensors["pooled"][1].any()
    assert text.tensors["pooled"][0].any()
    latents = prior.to_model_space(images)
    found = prior.predict(latents, TIMESTEP, text)
    unet = UNet2DConditionModel.from_pretrained(stable_diffusion_xl / "unet").eval()
    added = {
        "text_embeds": text.tensors["pooled"],
        "time_ids": torch.tensor([[16.0, 16, 0, 0, 16, 16]] * 2),
    }
    with torch.no_grad():
        hidden = text.tensors["hidden"]
        expected = unet(latents, TIMESTEP, hidden, added_cond_kwargs=added).sample
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_second_encoder_s_features_survive_the_embed_stage(
    stable_diffusion_xl: Path, tmp_path: Path
) -> None:
    text = build_prior(section(), stable_diffusion_xl, "cpu").encode_text(PROMPTS)
    save_text(tmp_path / "text", text, {"front": PROMPTS[0], "negative": ""})
    loaded, _ = load_text(tmp_path / "text")
    assert loaded.tensors.keys() == {"hidden", "pooled"}
    torch.testing.assert_close(dict(loaded.tensors), dict(text.tensors), rtol=0, atol=0)


def test_the_gradient_at_the_image_is_that_of_finite_differences(stable_diffusion: Path) -> None:
    prior: Any = build_prior(section(), stable_diffusion, "cpu")
    prior._vae.double()
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(1, 3, 4, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    small = section(image_size_px=4)
    prior._section = small
    assert torch.autograd.gradcheck(prior.to_model_space, (images,), fast_mode=True)


def test_a_half_precision_vae_gives_the_image_a_full_precision_gradient(
    stable_diffusion: Path, images: torch.Tensor
) -> None:
    prior = build_prior(section(vae_dtype="bfloat16"), stable_diffusion, "cpu")
    leaf = images.requires_grad_()
    latents = prior.to_model_space(leaf)
    assert latents.dtype == torch.float32
    (gradient,) = torch.autograd.grad(latents.square().sum(), leaf)
    assert gradient.dtype == torch.float32
    assert gradient.any()


def test_latents_that_overflow_say_what_to_change(
    stable_diffusion: Path, images: torch.Tensor
) -> None:
    prior: Any = build_prior(section(), stable_diffusion, "cpu")
    with torch.no_grad():
        prior._vae.encoder.conv_out.bias.fill_(torch.inf)
    with pytest.raises(NumericsError, match=r"set prior\.vae_dtype to float32"):
        prior.to_model_space(images)


def test_the_vae_has_no_decoder(stable_diffusion: Path) -> None:
    prior: Any = build_prior(section(), stable_diffusion, "cpu")
    assert not hasattr(prior._vae, "decoder")


def test_an_offloaded_model_predicts_the_same(stable_diffusion: Path, images: torch.Tensor) -> None:
    stays, visits = (
        build_prior(section(cpu_offload=flag), stable_diffusion, "cpu") for flag in (False, True)
    )
    latents = stays.to_model_space(images)
    text = TextFeatures({"hidden": torch.ones(2, 16, 12)})
    expected = stays.predict(latents, TIMESTEP, text)
    torch.testing.assert_close(visits.predict(latents, TIMESTEP, text), expected, rtol=0, atol=0)


def test_another_kind_of_directory_is_refused(pipeline: Path) -> None:
    with pytest.raises(WeightsError, match=r"model_index.json: cannot be read .*vae"):
        build_prior(section(), pipeline, "cpu")
