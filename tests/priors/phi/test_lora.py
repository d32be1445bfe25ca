"""LoRA on every pretrained family: a copy that starts as the prior, learns, and leaves it alone."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import SD3Transformer2DModel, UNet2DConditionModel
from pydantic import TypeAdapter

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.priors.phi.lora import LoraDenoiser, LoraLinear
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe import schema

from ..families.conftest import COMPONENTS, saved  # noqa: TID252
from ..sections import FAMILIES, OPEN  # noqa: TID252

__all__ = ["saved"]

LOCAL = {"kind": "local", "path": "somewhere"}
SECTIONS: dict[str, dict[str, Any]] = dict(FAMILIES)
TOKENS = {"pixart_sigma": 16, "qwen_image": 150}  # what the tiny models read
SECTIONS |= {
    family: OPEN | {"text_tokens": TOKENS.get(family, OPEN["text_tokens"])} for family in COMPONENTS
}
TIMESTEP = torch.tensor([300, 800])
POSES = torch.eye(4).flatten().repeat(2, 1)
CPU = torch.device("cpu")


def directory_of(name: str, request: pytest.FixtureRequest) -> Path:
    """Return the directory of a family, saved at its first use."""
    if name in COMPONENTS:
        return request.getfixturevalue("saved")(name)
    return request.getfixturevalue(name)


def build(directory: Path, section: dict[str, Any], **changes: Any) -> Any:
    adapter: TypeAdapter[Any] = TypeAdapter(schema.PriorSection)
    validated = adapter.validate_python({"source": LOCAL, **section, **changes})
    return build_prior(validated, directory, "cpu")


@pytest.fixture(params=SECTIONS)
def prior(request: pytest.FixtureRequest) -> Any:
    return build(directory_of(request.param, request), SECTIONS[request.param])


@pytest.fixture
def noisy(prior: Any) -> torch.Tensor:
    shape = prior.to_model_space(torch.zeros(2, 3, 8, 8)).shape
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def adapter(prior: Any, seed: int = 0) -> LoraDenoiser:
    return prior.adapter(3, generator=torch.Generator().manual_seed(seed))


def denoiser(prior: Any) -> torch.nn.Module:
    return prior._denoiser


def stir(phi: LoraDenoiser, seed: int = 1) -> LoraDenoiser:
    """Move every trainable number, so that nothing is hidden behind a zero."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in phi.trainable().values():
            value.add_(0.1 * torch.randn(value.shape, generator=generator))
    return phi


def test_it_starts_as_the_prior_and_the_prior_stays(prior: Any, noisy: torch.Tensor) -> None:
    text = prior.encode_text(["a", "a b"])
    before = prior.predict(noisy, TIMESTEP, text)
    weights = copy.deepcopy(denoiser(prior).state_dict())
    phi = adapter(prior)
    torch.testing.assert_close(phi(noisy, TIMESTEP, text, POSES), before)
    optimizer = torch.optim.Adam(phi.trainable().values(), lr=0.1)
    for _ in range(2):  # B and the embedding's last layer start at zero and hold A's back
        optimizer.zero_grad()
        phi(noisy, TIMESTEP, text, POSES).square().mean().backward()
        optimizer.step()
    assert not torch.allclose(phi(noisy, TIMESTEP, text, POSES), before, atol=1e-3)
    assert torch.equal(prior.predict(noisy, TIMESTEP, text), before)
    after = denoiser(prior).state_dict()
    assert after.keys() == weights.keys()
    assert all(torch.equal(after[name], weights[name]) for name in weights)


def test_only_the_adaptation_learns_and_all_of_it(prior: Any, noisy: torch.Tensor) -> None:
    text = prior.encode_text(["a", "a b"])
    phi = stir(adapter(prior))
    phi(noisy, TIMESTEP, text, POSES).square().mean().backward()
    names = phi.trainable()
    assert all(".down" in n or ".up" in n or n.startswith("camera.") for n in names)
    assert {name.rpartition(".")[2] for name in names} == {"down", "up", "weight", "bias"}
    # A transformer's last joint block passes no text on: nothing reads what its text asked for.
    unread = {name for name in names if ".add_q_proj." in name or ".to_add_out." in name}
    assert len(unread) < len(names) / 2
    for name, value in phi.named_parameters():
        if name in names:
            assert name in unread or value.grad.abs().max() > 0, name
        else:
            assert value.grad is None, name


def test_every_attention_projection_is_adapted(prior: Any) -> None:
    adapted = {n for n, m in adapter(prior).denoiser.named_modules() if isinstance(m, LoraLinear)}
    attentions = {
        name: module
        for name, module in denoiser(prior).named_modules()
        if hasattr(module, "to_q") or hasattr(module, "to_qkv_mlp_proj")
    }
    assert attentions
    for name, module in attentions.items():
        linear = [n for n, m in module.named_modules() if isinstance(m, torch.nn.Linear)]
        assert {f"{name}.{part}" for part in linear} <= adapted
    assert all(any(n.startswith(f"{a}.") for a in attentions) for n in adapted)


def test_frozen_numbers_are_shared_and_not_copied(prior: Any) -> None:
    first, second = adapter(prior), adapter(prior, seed=1)
    frozen = {n: p for n, p in first.named_parameters() if not p.requires_grad}
    frozen |= dict(first.named_buffers())
    others = dict(second.named_parameters()) | dict(second.named_buffers())
    assert len(frozen) > 20
    assert all(value.data_ptr() == others[name].data_ptr() for name, value in frozen.items())
    own = {tensor.data_ptr() for tensor in denoiser(prior).state_dict().values()}
    assert {value.data_ptr() for value in frozen.values()} <= own | {
        buffer.data_ptr() for buffer in denoiser(prior).buffers()
    }


def test_what_moves_the_prior_moves_the_copy_s_frozen_part_alone(prior: Any) -> None:
    phi = adapter(prior)
    denoiser(prior).to(torch.float64)
    assert {p.dtype for p in phi.parameters() if not p.requires_grad} == {torch.float64}
    assert {b.dtype for b in phi.buffers() if b.is_floating_point()} <= {torch.float64}
    assert {p.dtype for p in phi.trainable().values()} == {torch.float32}


def test_its_first_numbers_come_from_the_generator_alone(prior: Any) -> None:
    denoiser(prior)  # loading draws and restores
    before = torch.get_rng_state()
    states = [adapter(prior, seed).trainable() for seed in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    down = next(name for name in states[0] if name.endswith("down"))
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0][down], states[2][down])


def test_the_camera_enters_phi_and_not_the_prior(prior: Any, noisy: torch.Tensor) -> None:
    text = prior.encode_text(["a", "a"])
    before = prior.predict(noisy, TIMESTEP, text)
    phi = stir(adapter(prior))
    with torch.no_grad():
        one, none = (phi(noisy, TIMESTEP, text, p) for p in (POSES, torch.zeros_like(POSES)))
        mixed = phi(noisy, TIMESTEP, text, torch.stack([POSES[0], torch.zeros(16)]))
    assert (one - none).abs().amax(dim=(1, 2, 3)).min() > 1e-4
    torch.testing.assert_close(mixed, torch.stack([one[0], none[1]]))  # each image's own
    assert torch.equal(prior.predict(noisy, TIMESTEP, text), before)
    assert not any(module._forward_hooks for module in phi.modules())


def test_after_an_error_the_camera_is_gone(prior: Any, noisy: torch.Tensor) -> None:
    phi = adapter(prior)
    with pytest.raises((KeyError, RuntimeError)):
        phi(noisy, TIMESTEP, TextFeatures({}), POSES)
    assert not any(module._forward_hooks for module in phi.modules())


@pytest.mark.parametrize("name", ["stable_diffusion", "stable_diffusion_3"])
def test_an_offloaded_prior_is_there_while_phi_learns(
    name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    moves: list[Any] = []

    @contextmanager
    def watched(model: Any, device: Any, *, offload: bool) -> Iterator[Any]:
        moves.append((model, device.type, offload))
        yield model
        moves.append("out")

    monkeypatch.setattr("dreamfusion_kit.priors.pretrained.resident", watched)
    prior = build(request.getfixturevalue(name), SECTIONS[name], cpu_offload=True)
    phi = adapter(prior)
    with phi.resident():
        noisy = torch.zeros_like(prior.to_model_space(torch.zeros(2, 3, 8, 8)))
        phi(noisy, TIMESTEP, prior.encode_text(["a mug", "a"]), POSES).sum().backward()
        assert moves == [(denoiser(prior), "cpu", True)]
    assert moves[1:] == ["out"]


class Toy(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.to_q = torch.nn.Linear(2, 2)


def no_call(*_: Any) -> torch.Tensor:
    raise AssertionError


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (torch.nn.Linear(2, 2), "its Linear has no attention to adapt"),
        (torch.nn.ModuleDict({"attention": Toy()}), "camera would enter a ModuleDict is not known"),
    ],
)
def test_a_network_it_does_not_fit_is_refused(network: torch.nn.Module, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        LoraDenoiser(network, no_call, 2, device=CPU, generator=torch.Generator())


# ---- at the widths of the published models, one block of each


def wide_unet() -> Any:
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(320, 640),
        layers_per_block=1,
        attention_head_dim=8,
        cross_attention_dim=768,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )


def wide_transformer() -> Any:
    return SD3Transformer2DModel(
        sample_size=8,
        num_layers=1,
        attention_head_dim=64,
        num_attention_heads=24,
        joint_attention_dim=4096,
        caption_projection_dim=1536,
        pooled_projection_dim=2048,
        pos_embed_max_size=8,
        qk_norm="rms_norm",
    )


def call_unet(unet: Any, noisy: Any, timestep: Any, text: TextFeatures) -> torch.Tensor:
    return unet(noisy, timestep, text.tensors["hidden"]).sample


def call_transformer(model: Any, noisy: Any, timestep: Any, text: TextFeatures) -> torch.Tensor:
    hidden, pooled = text.tensors["hidden"], text.tensors["pooled"]
    return model(noisy, hidden, pooled, timestep).sample


@pytest.mark.parametrize(
    ("make", "call", "channels", "width"),
    [(wide_unet, call_unet, 4, 768), (wide_transformer, call_transformer, 16, 4096)],
)
def test_at_published_widths_it_starts_at_the_prior_and_repeats_to_the_bit(
    make: Callable[[], Any], call: Any, channels: int, width: int
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = make().eval().requires_grad_(False)
    draw = torch.Generator().manual_seed(1)
    noisy = torch.randn(2, channels, 8, 8, generator=draw)
    text = TextFeatures(
        {
            "hidden": torch.randn(2, 20, width, generator=draw),
            "pooled": torch.randn(2, 2048, generator=draw),
        }
    )

    def learn(steps: int) -> tuple[torch.Tensor, dict[str, Any]]:
        generator = torch.Generator().manual_seed(2)
        phi = LoraDenoiser(network, call, 4, device=CPU, generator=generator)
        with torch.no_grad():
            started = phi(noisy, TIMESTEP, text, POSES)
        optimizer = torch.optim.Adam(phi.trainable().values(), lr=1e-3, fused=True)
        for _ in range(steps):
            optimizer.zero_grad()
            (phi(noisy, TIMESTEP, text, POSES) - noisy).square().mean().backward()
            optimizer.step()
        return started, phi.trainable()

    started, once = learn(2)
    _, again = learn(2)
    with torch.no_grad():
        torch.testing.assert_close(started, call(network, noisy, TIMESTEP, text))
    assert all(torch.equal(once[name], again[name]) for name in once)
