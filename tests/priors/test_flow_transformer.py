"""Flows as diffusions: SD3 and AuraFlow in miniature, and refusals."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AuraFlowTransformer2DModel, SD3Transformer2DModel

from dreamfusion_kit.errors import RecipeError, WeightsError
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.recipe.schema import FlowTransformerSection as Section
from dreamfusion_kit.recipe.schema import LocalSourceSection

PROMPTS = ["a red mug", ""]
TIMESTEP = torch.tensor([249, 799])
FLOW_TIME = torch.tensor([0.2495, 0.7995])


def section(**changes: Any) -> Section:
    keys = {
        "kind": "flow_transformer",
        "source": LocalSourceSection(kind="local", path="somewhere"),
        "dtype": "float32",
        "vae_dtype": "float32",
        "image_size_px": 16,
        "t5_enabled": True,
        "t5_tokens": 20,
        "cpu_offload": False,
        "storage_dtype": None,
        "vae": None,
        "loras": (),
    }
    return Section.model_validate(keys | changes)


def mixed(latents: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Return the flow's own x_t at FLOW_TIME."""
    t = FLOW_TIME[:, None, None, None]
    return (1 - t) * latents + t * noise


@pytest.mark.parametrize("t5_enabled", [True, False])
def test_sd3_is_what_its_folders_say(stable_diffusion_3: Path, t5_enabled: bool) -> None:
    prior = build_prior(section(t5_enabled=t5_enabled), stable_diffusion_3, "cpu")
    text = prior.encode_text(PROMPTS)
    hidden, pooled = text.tensors["hidden"], text.tensors["pooled"]
    assert hidden.shape == (2, 16 + 20, 24)
    assert pooled.shape == (2, 20)
    assert not hidden[:, :16, 20:].any()  # the CLIPs are narrower than T5
    assert bool(hidden[:, 16:].any()) == t5_enabled

    generator = torch.Generator().manual_seed(0)
    latents = prior.to_model_space(torch.rand(2, 3, 8, 8, generator=generator))
    noise = torch.randn(latents.shape, generator=generator)
    noisy = (
        prior.alpha_t(TIMESTEP)[:, None, None, None] * latents
        + prior.sigma_t(TIMESTEP)[:, None, None, None] * noise
    )
    found = prior.predict(noisy, TIMESTEP, text)
    transformer = SD3Transformer2DModel.from_pretrained(stable_diffusion_3 / "transformer").eval()
    x_t = mixed(latents, noise)
    with torch.no_grad():
        velocity = transformer(x_t, hidden, pooled, 1000 * FLOW_TIME).sample
    expected = x_t + (1 - FLOW_TIME)[:, None, None, None] * velocity
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_sd3_s_clock_is_not_rounded(
    stable_diffusion_3: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bfloat16 has eight bits: it would tell the model another level than the latents have."""
    told: list[torch.Tensor] = []
    forward = SD3Transformer2DModel.forward

    def listen(self: SD3Transformer2DModel, *inputs: Any, timestep: torch.Tensor, **more: Any):
        told.append(timestep)
        return forward(self, *inputs, timestep=timestep, **more)

    monkeypatch.setattr(SD3Transformer2DModel, "forward", listen)
    prior = build_prior(section(dtype="bfloat16"), stable_diffusion_3, "cpu")
    prior.predict(torch.zeros(2, 16, 4, 4), TIMESTEP, prior.encode_text(PROMPTS))
    torch.testing.assert_close(told[0], 1000 * FLOW_TIME)


def test_aura_flow_is_what_its_folders_say(aura_flow: Path) -> None:
    prior = build_prior(section(), aura_flow, "cpu")
    hidden = prior.encode_text(PROMPTS).tensors["hidden"]
    assert hidden.shape == (2, 20, 24)
    assert not hidden[1, 3:].any()  # padding is zeros
    assert hidden[1, 0].any()
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn(2, 4, 8, 8, generator=generator)
    length = prior.alpha_t(TIMESTEP) + prior.sigma_t(TIMESTEP)
    noisy = x_t * length[:, None, None, None]
    found = prior.predict(noisy, TIMESTEP, prior.encode_text(PROMPTS))
    transformer = AuraFlowTransformer2DModel.from_pretrained(aura_flow / "transformer").eval()
    with torch.no_grad():
        velocity = transformer(x_t, hidden, FLOW_TIME).sample
    expected = x_t + (1 - FLOW_TIME)[:, None, None, None] * velocity
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_the_shift_and_scale_of_the_latents(stable_diffusion_3: Path) -> None:
    prior: Any = build_prior(section(), stable_diffusion_3, "cpu")
    images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        mean = prior._vae.encode(2 * images - 1).latent_dist.mean
    torch.testing.assert_close(prior.to_model_space(images), (mean - 0.0609) * 1.5305)


def test_aura_flow_without_t5_is_refused(aura_flow: Path) -> None:
    with pytest.raises(RecipeError, match=r"^prior.t5_enabled: found false"):
        build_prior(section(t5_enabled=False), aura_flow, "cpu")


def test_a_diffusion_is_no_flow(stable_diffusion: Path) -> None:
    with pytest.raises(WeightsError, match=r"model_index.json: cannot be read"):
        build_prior(section(), stable_diffusion, "cpu")
