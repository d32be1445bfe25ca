"""The latent U-Net against the kit's own backend and diffusers' pipeline, from its files."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline  # pyright: ignore[reportPrivateImportUsage]

from dreamfusion_kit.priors.latent_unet import LatentUnetPrior
from dreamfusion_kit.recipe.schema import LatentUnetSection, LocalSourceSection
from dreamfusion_kit.toybox.latent_model import ToyboxLatent, make_latent
from dreamfusion_kit.toybox.latent_settings import LatentTrainingSection, VaeTrainingSection
from dreamfusion_kit.toybox.vae_model import make_vae

TEXT = Path(__file__).parents[2] / "dreamfusion_kit/toybox/weights/prior"
PROMPTS = ["a red mug, front view", ""]


@pytest.fixture
def model(latent_settings: LatentTrainingSection, vae_settings: VaeTrainingSection) -> ToyboxLatent:
    model = make_latent(latent_settings, make_vae(vae_settings, 16), TEXT)
    model.vae.half().float()  # as saved
    model.unet.half().float()
    model.unet.eval()
    return model


@pytest.fixture
def directory(model: ToyboxLatent, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


@torch.no_grad()
def test_the_backend_reads_what_was_trained(model: ToyboxLatent, directory: Path) -> None:
    """Its text is the training's, and its epsilon is alpha v + sigma x_t of the network's v."""
    section = LatentUnetSection(
        kind="latent_unet",
        source=LocalSourceSection(kind="local", path="saved"),
        dtype="float32",
        vae_dtype="float32",
        image_size_px=16,
        cpu_offload=False,
        storage_dtype=None,
        vae=None,
        loras=(),
        textual_inversions=(),
        long_prompts="refuse",
    )
    prior = LatentUnetPrior(section, directory, "cpu")
    text, known = prior.encode_text(PROMPTS), model.encode(PROMPTS)
    torch.testing.assert_close(text.tensors["hidden"], known.hidden, atol=1e-5, rtol=1e-5)
    noisy = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    timestep = torch.tensor([100, 900])
    v = model.unet(noisy, timestep, known.hidden).sample
    alpha_bar = model.scheduler.alphas_cumprod[timestep][:, None, None, None]
    expected = alpha_bar.sqrt() * v + (1 - alpha_bar).sqrt() * noisy
    torch.testing.assert_close(prior.predict(noisy, timestep, text), expected, atol=1e-4, rtol=1e-4)


def test_diffusers_samples_from_the_directory(directory: Path) -> None:
    pipeline: Any = StableDiffusionPipeline.from_pretrained(
        directory, dtype=torch.float32, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(["a red mug"], num_inference_steps=2, output_type="np").images
    assert images.shape == (1, 16, 16, 3)


def test_the_loss_of_a_perfect_prediction_is_zero(model: ToyboxLatent) -> None:
    draw = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn(2, 4, 8, 8, generator=draw) for _ in range(2))
    times = torch.tensor([0.1, 0.7])
    alpha_bar = model.scheduler.alphas_cumprod[[100, 700]][:, None, None, None]
    velocity = alpha_bar.sqrt() * noise - (1 - alpha_bar).sqrt() * latents

    class Perfect(torch.nn.Module):
        def forward(
            self, noisy: torch.Tensor, timesteps: torch.Tensor, hidden: torch.Tensor
        ) -> Any:
            assert timesteps.tolist() == [100, 700]
            mixed = alpha_bar.sqrt() * latents + (1 - alpha_bar).sqrt() * noise
            torch.testing.assert_close(noisy, mixed)
            return type("Output", (), {"sample": velocity})

    text = model.encode(PROMPTS)
    assert model.loss(latents, noise, times, text) > 0.1
    model.unet = Perfect()  # pyright: ignore[reportAttributeAccessIssue]
    assert float(model.loss(latents, noise, times, text)) == pytest.approx(0, abs=1e-10)


@torch.no_grad()
def test_samples_depend_on_seed_and_words(model: ToyboxLatent) -> None:
    def sample(text: str, seed: int, scale: float = 3.0) -> torch.Tensor:
        return model.sample([text], guidance_scale=scale, num_steps=2, seed=seed)

    first = sample("a red mug", 0)
    assert first.shape == (1, 16, 16, 3)
    assert torch.equal(first, sample("a red mug", 0))
    assert not torch.equal(first, sample("a red mug", 1))
    assert not torch.equal(first, sample("a blue car", 0))
    assert torch.equal(sample("a red mug", 0, 0.0), sample("a blue car", 0, 0.0))
