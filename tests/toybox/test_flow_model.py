"""The flow against the kit's own backend and diffusers' pipeline, from its files."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusion3Pipeline  # pyright: ignore[reportPrivateImportUsage]
from transformers import CLIPTextModel

from dreamfusion_kit.priors.flow_transformer import FlowTransformerPrior
from dreamfusion_kit.recipe.schema import FlowTransformerSection, LocalSourceSection
from dreamfusion_kit.toybox.flow_model import T5_TOKENS, ToyboxFlow
from dreamfusion_kit.toybox.latent_settings import FlowTrainingSection, VaeTrainingSection
from dreamfusion_kit.toybox.text_model import load_tokenizer, token_ids
from dreamfusion_kit.toybox.vae_model import make_vae

TEXT = Path(__file__).parents[2] / "dreamfusion_kit/toybox/weights/prior"
PROMPTS = ["a red mug, front view", ""]


@pytest.fixture
def model(flow_settings: FlowTrainingSection, vae_settings: VaeTrainingSection) -> ToyboxFlow:
    model = ToyboxFlow(flow_settings, make_vae(vae_settings, 16), TEXT)
    model.transformer.half().float()  # as saved
    model.transformer.eval()
    return model


@pytest.fixture
def directory(model: ToyboxFlow, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


@torch.no_grad()
def test_the_backend_reads_what_was_trained(model: ToyboxFlow, directory: Path) -> None:
    """Its text is the training's, and its velocity at time t is the network's."""
    section = FlowTransformerSection(
        kind="flow_transformer",
        source=LocalSourceSection(kind="local", path="saved"),
        dtype="float32",
        vae_dtype="float32",
        image_size_px=16,
        t5_enabled=False,
        t5_tokens=T5_TOKENS,
        cpu_offload=False,
        storage_dtype=None,
        vae=None,
        loras=(),
    )
    prior = FlowTransformerPrior(section, directory, "cpu")
    text, known = prior.encode_text(PROMPTS), model.encode(PROMPTS)
    assert known.pooled is not None
    torch.testing.assert_close(text.tensors["hidden"], known.hidden, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(text.tensors["pooled"], known.pooled, atol=1e-5, rtol=1e-5)
    draw = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn(2, 4, 8, 8, generator=draw) for _ in range(2))
    timestep = torch.tensor([100, 900])
    t = ((timestep + 0.5) / 1000)[:, None, None, None]
    mixed = (1 - t) * latents + t * noise
    velocity = model.transformer(
        hidden_states=mixed,
        timestep=timestep + 0.5,
        encoder_hidden_states=known.hidden,
        pooled_projections=known.pooled,
    ).sample
    length = ((1 - t).square() + t.square()).sqrt()
    found = prior.predict(mixed / length, timestep, text)
    torch.testing.assert_close(found, mixed + (1 - t) * velocity, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_first_encoder_keeps_all_trained_layers(model: ToyboxFlow) -> None:
    trained: Any = CLIPTextModel.from_pretrained(TEXT / "text_encoder", dtype=torch.float32)
    tokens = token_ids(load_tokenizer(TEXT), PROMPTS)
    expected = trained(tokens, output_hidden_states=True)
    text = model.encode(PROMPTS)
    width = trained.config.hidden_size
    assert text.pooled is not None
    assert text.hidden.shape == (2, tokens.shape[1] + T5_TOKENS, 2 * width)
    torch.testing.assert_close(text.hidden[:, :-1, :width], expected.hidden_states[-1])
    torch.testing.assert_close(text.hidden[:, :-1, width:], expected.hidden_states[1])
    torch.testing.assert_close(text.pooled[:, :width], expected.pooler_output)
    assert not text.hidden[:, -1].any()


def test_diffusers_samples_from_the_directory(directory: Path) -> None:
    pipeline: Any = StableDiffusion3Pipeline.from_pretrained(
        directory,
        dtype=torch.float32,
        local_files_only=True,
        text_encoder_3=None,
        tokenizer_3=None,
    )
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(
        ["a red mug"],
        height=16,
        width=16,
        num_inference_steps=2,
        max_sequence_length=T5_TOKENS,
        output_type="np",
    ).images
    assert images.shape == (1, 16, 16, 3)


@torch.no_grad()
def test_a_straight_flow_ends_at_its_image(
    model: ToyboxFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The velocity (x_t - x) / t leads straight to x, in any number of steps."""
    target = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))

    def straight(noisy: torch.Tensor, times: torch.Tensor, text: object) -> torch.Tensor:
        return (noisy - target) / times[:, None, None, None]

    monkeypatch.setattr(model, "_velocity", straight)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    for num_steps in (1, 7):
        found = model.denoise(noise, model.encode(PROMPTS), 3.0, num_steps)
        torch.testing.assert_close(found, target, atol=1e-5, rtol=1e-5)


def test_the_loss_is_of_the_velocity(model: ToyboxFlow, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that always says 0 errs by the mean square of eps - x."""
    draw = torch.Generator().manual_seed(0)
    latents, noise = (torch.randn(2, 4, 8, 8, generator=draw) for _ in range(2))
    monkeypatch.setattr(model, "_velocity", lambda noisy, times, text: torch.zeros_like(noisy))
    found = model.loss(latents, noise, torch.tensor([0.2, 0.9]), model.encode(PROMPTS))
    assert float(found) == pytest.approx(float((noise - latents).square().mean()), rel=1e-5)
