"""What a prior takes: weights by hand and by file, activations by torch's own allocator."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.memory import prior as module
from dreamfusion_kit.memory.components import components
from dreamfusion_kit.memory.meta_model import module_bytes, on_meta
from dreamfusion_kit.memory.prior import PriorMemory, prior_memory
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.recipe import schema
from dreamfusion_kit.recipe.load import load_recipe

from ..priors.families.conftest import Save  # noqa: TID252
from ..priors.families.conftest import section as transformer_section  # noqa: TID252

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes"
Peak = Callable[[Callable[[], object]], int]

SMALLEST_VAE = {
    "_class_name": "AutoencoderKL",
    "block_out_channels": (4,),
    "down_block_types": ("DownEncoderBlock2D",),
    "up_block_types": ("UpDecoderBlock2D",),
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 2,
}


def prior_of(recipe: str, **changes: Any) -> Any:
    """Return a shipped recipe's prior in float32, which reads `model` in the workspace."""
    section = load_recipe(RECIPES / f"{recipe}.yaml").prior
    source = schema.LocalSourceSection(kind="local", path="model")
    small = {"source": source, "dtype": "float32", **changes}
    if hasattr(section, "vae_dtype"):
        small = {"vae_dtype": "float32", **small}
    return section.model_copy(update=small)


def guidance(recipe: str = "toybox") -> schema.GuidanceSection:
    return load_recipe(RECIPES / f"{recipe}.yaml").guidance


def counted(
    section: Any, directory: Path, tmp_path: Path, *, like: str = "toybox", batch: int = 1
) -> PriorMemory:
    shutil.copytree(directory, tmp_path / "model", dirs_exist_ok=True)
    parts, origin = components(section, tmp_path)
    assert origin == "its own files"
    return prior_memory(section, guidance(like), parts, batch_size=batch, render_size_px=64)


def test_the_parameters_of_the_smallest_encoder_by_hand() -> None:
    conv, norm = 3 * 3 * 4 * 4 + 4, 2 * 4
    resnet = 2 * (norm + conv)
    attention = norm + 4 * (4 * 4 + 4)
    expected = (
        (3 * 3 * 3 * 4 + 4)  # the first convolution
        + resnet  # the only block
        + 2 * resnet + attention  # the middle
        + norm + (3 * 3 * 4 * 8 + 8)  # mean and log variance of 4 channels
        + (8 * 8 + 8)  # quant_conv
    )  # fmt: skip
    section = prior_of("sd15", vae_dtype="float32", image_size_px=8)
    unet = json.loads((ROOT / "dreamfusion_kit/toybox/weights/prior/unet/config.json").read_text())
    parts = {"vae": SMALLEST_VAE, "unet": unet | {"in_channels": 4}}
    found = prior_memory(section, guidance(), parts, batch_size=1, render_size_px=8)
    assert found.encoder == 4 * expected
    halves = section.model_copy(update={"vae_dtype": "bfloat16"})
    found = prior_memory(halves, guidance(), parts, batch_size=1, render_size_px=8)
    assert found.encoder == 2 * expected


def test_the_toybox_s_weights_are_those_of_its_file() -> None:
    section = load_recipe(RECIPES / "toybox.yaml").prior
    assert isinstance(section, schema.PixelUnetSection)
    parts, _ = components(section, ROOT)
    weights = ROOT / "dreamfusion_kit/toybox/weights/prior/unet/diffusion_pytorch_model.safetensors"
    with weights.open("rb") as file:
        header = 8 + int.from_bytes(file.read(8), "little")
    stored = weights.stat().st_size - header
    as_stored = on_meta(parts["unet"], "float32")
    assert module_bytes(as_stored) in (stored, 2 * stored)  # kept in float32 or in halves
    found = prior_memory(section, guidance(), parts, batch_size=1, render_size_px=64)
    assert found.denoiser == module_bytes(as_stored)


@pytest.mark.parametrize(
    ("recipe", "fixture", "changes"),
    [
        ("sd15", "stable_diffusion", {}),
        ("sdxl", "stable_diffusion_xl", {}),
        ("sd35", "stable_diffusion_3", {"t5_tokens": 20}),
        ("sd35", "aura_flow", {"t5_enabled": True, "t5_tokens": 20}),
    ],
)
def test_activations_are_what_the_allocator_gives_out(
    recipe: str,
    fixture: str,
    changes: dict[str, Any],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    allocator_peak: Peak,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "CLIP_TOKENS", 16)  # what the tests' own tokenizer pads to
    directory = request.getfixturevalue(fixture)
    section = prior_of(recipe, image_size_px=16, **changes)
    found = counted(section, directory, tmp_path, batch=2)
    prior: Any = build_prior(section, directory, "cpu")
    text = prior.encode_text(["a mug", "a mug", "", ""])
    images = torch.rand(2, 3, 64, 64, requires_grad=True)

    def encode() -> None:
        with sdpa_kernel(SDPBackend.MATH):  # as on CUDA
            clean = prior.to_model_space(images)
        torch.autograd.grad(clean, images, torch.ones_like(clean))

    noisy = torch.randn_like(torch.cat([prior.to_model_space(images.detach())] * 2))
    timestep = torch.full((4,), 500)

    def predict() -> None:
        prior.predict(noisy, timestep, text)

    for run in (encode, predict):
        run()  # loads everything that is read at first use
    assert found.encoding == pytest.approx(allocator_peak(encode), rel=0.15)
    assert found.predicting == pytest.approx(allocator_peak(predict), rel=0.15)
    assert found.denoiser == module_bytes(prior._denoiser)
    assert found.encoder == module_bytes(prior._vae)
    assert 0 < found.encoded <= found.encoding


@pytest.mark.parametrize("family", ["flux2_klein", "z_image", "qwen_image", "sana", "pixart_sigma"])
def test_a_family_s_activations_are_what_the_allocator_gives_out(
    family: str, saved: Save, tmp_path: Path, allocator_peak: Peak
) -> None:
    tokens = {"pixart_sigma": 16, "qwen_image": 150}.get(family, 64)
    section = transformer_section(text_tokens=tokens, image_size_px=32)
    found = counted(section, saved(family), tmp_path, batch=2)
    prior: Any = build_prior(section, saved(family), "cpu")
    # As long as allowed, where only what is text is read.
    words = "b" * {"z_image": 27, "qwen_image": 22}.get(family, 1)
    text = prior.encode_text([words] * 4)
    images = torch.rand(2, 3, 64, 64, requires_grad=True)

    def encode() -> None:
        with sdpa_kernel(SDPBackend.MATH):  # as on CUDA
            clean = prior.to_model_space(images)
        torch.autograd.grad(clean, images, torch.ones_like(clean))

    noisy = torch.randn_like(torch.cat([prior.to_model_space(images.detach())] * 2))
    timestep = torch.full((4,), 500)

    def predict() -> None:
        prior.predict(noisy, timestep, text)

    for run in (encode, predict):
        run()
    assert found.encoding == pytest.approx(allocator_peak(encode), rel=0.15)
    assert found.predicting == pytest.approx(allocator_peak(predict), rel=0.3)
    assert found.denoiser == module_bytes(prior._denoiser)
    assert found.encoder == module_bytes(prior._vae)
    assert 0 < found.encoded <= found.encoding


def test_a_pixel_model_s_forward(make_if: Path, tmp_path: Path, allocator_peak: Peak) -> None:
    section = prior_of("if", image_size_px=8)
    found = counted(section, make_if, tmp_path)
    prior: Any = build_prior(section, make_if, "cpu")
    text = prior.encode_text(["a mug", ""])
    noisy, timestep = torch.randn(2, 3, 8, 8), torch.tensor([500, 500])
    prior.predict(noisy, timestep, text)
    assert found.encoder == found.encoded == found.encoding == 0
    peak = allocator_peak(lambda: prior.predict(noisy, timestep, text))
    assert found.predicting == pytest.approx(peak, rel=0.15)


def test_more_images_and_more_texts_cost_in_proportion(
    stable_diffusion: Path, tmp_path: Path
) -> None:
    section = prior_of("sd15", image_size_px=64)
    one = counted(section, stable_diffusion, tmp_path)
    four = counted(section, stable_diffusion, tmp_path, batch=4)
    pushed = counted(section, stable_diffusion, tmp_path, like="toybox-perp-neg")
    assert four.encoding == pytest.approx(4 * one.encoding, rel=0.02)
    assert four.predicting == pytest.approx(4 * one.predicting, rel=0.02)
    assert pushed.predicting == pytest.approx(2 * one.predicting, rel=0.02)
    assert (pushed.denoiser, pushed.encoder) == (one.denoiser, one.encoder)


def test_attention_holds_its_scores_for_a_gradient_alone(
    stable_diffusion: Path, tmp_path: Path
) -> None:
    """Twice the side is four times the positions: sixteen times the scores, where they are held."""
    small = counted(prior_of("sd15", image_size_px=256), stable_diffusion, tmp_path)
    large = counted(prior_of("sd15", image_size_px=512), stable_diffusion, tmp_path)
    assert large.encoding > 6 * small.encoding
    assert large.predicting < 4.5 * small.predicting


def test_vsd_brings_its_second_denoiser(make_if: Path, tmp_path: Path) -> None:
    section = prior_of("if", image_size_px=8)
    plain = counted(section, make_if, tmp_path)
    found = counted(section, make_if, tmp_path, like="toybox-vsd")
    vsd = guidance("toybox-vsd")
    assert isinstance(vsd, schema.VsdSection)
    phi = build_prior(section, make_if, "cpu").adapter(  # pyright: ignore
        vsd.phi.rank, generator=torch.Generator()
    )
    trainable = sum(value.nbytes for value in phi.trainable().values())
    assert (plain.phi, plain.learning) == (0, 0)
    assert found.phi == 4 * trainable  # itself, its gradient and two moments
    assert found.learning > found.predicting / 2


@pytest.mark.parametrize(
    ("recipe", "fixture", "changes"),
    [
        ("if", "make_if", {"image_size_px": 8}),
        ("sd15", "stable_diffusion", {}),
        ("sdxl", "stable_diffusion_xl", {}),
        ("sd35", "stable_diffusion_3", {"t5_tokens": 20}),
        ("sd35", "aura_flow", {"t5_enabled": True, "t5_tokens": 20}),
    ],
)
def test_phi_s_learning_is_what_the_allocator_gives_out(
    recipe: str,
    fixture: str,
    changes: dict[str, Any],
    request: pytest.FixtureRequest,
    tmp_path: Path,
    allocator_peak: Peak,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tokens = 77 if recipe == "if" else 16  # what its T5, or the tests' own tokenizer, pads to
    monkeypatch.setattr(module, "CLIP_TOKENS", tokens)
    directory = request.getfixturevalue(fixture)
    section = prior_of(recipe, **({"image_size_px": 32} | changes))
    found = counted(section, directory, tmp_path, like="toybox-vsd", batch=2)
    prior: Any = build_prior(section, directory, "cpu")
    text = prior.encode_text(["a mug", "a mug"])
    phi = prior.adapter(4, generator=torch.Generator())
    noisy = torch.randn_like(prior.to_model_space(torch.rand(2, 3, 32, 32)))
    timestep, poses = torch.full((2,), 500), torch.zeros(2, 16)

    def learn() -> None:
        with sdpa_kernel(SDPBackend.MATH):  # as on CUDA
            error = phi(noisy, timestep, text, poses) - noisy
        error.square().mean().backward()
        for value in phi.trainable().values():
            value.grad = None

    learn()
    assert found.learning == pytest.approx(allocator_peak(learn), rel=0.15)
    assert found.phi == 4 * sum(value.nbytes for value in phi.trainable().values())


@pytest.mark.parametrize("family", ["flux2_klein", "z_image", "qwen_image", "sana", "pixart_sigma"])
def test_a_family_s_phi_is_what_the_allocator_gives_out(
    family: str, saved: Save, tmp_path: Path, allocator_peak: Peak
) -> None:
    tokens = {"pixart_sigma": 16, "qwen_image": 150}.get(family, 64)
    section = transformer_section(text_tokens=tokens, image_size_px=32)
    found = counted(section, saved(family), tmp_path, like="toybox-vsd", batch=2)
    prior: Any = build_prior(section, saved(family), "cpu")
    words = "b" * {"z_image": 27, "qwen_image": 22}.get(family, 1)
    text = prior.encode_text([words] * 2)
    phi = prior.adapter(4, generator=torch.Generator())
    noisy = torch.randn_like(prior.to_model_space(torch.rand(2, 3, 64, 64)))
    timestep, poses = torch.full((2,), 500), torch.zeros(2, 16)

    def learn() -> None:
        with sdpa_kernel(SDPBackend.MATH):  # as on CUDA
            error = phi(noisy, timestep, text, poses) - noisy
        error.square().mean().backward()
        for value in phi.trainable().values():
            value.grad = None

    learn()
    assert found.learning == pytest.approx(allocator_peak(learn), rel=0.3)
    assert found.phi == 4 * sum(value.nbytes for value in phi.trainable().values())


def test_a_clip_counts_forward_and_backward() -> None:
    section = load_recipe(RECIPES / "toybox-clip.yaml").prior
    parts, _ = components(section, ROOT)
    found = prior_memory(section, guidance("toybox-clip"), parts, batch_size=1, render_size_px=64)
    assert found.denoiser == found.predicting == 0
    weights = ROOT / "dreamfusion_kit/toybox/weights/clip/model.safetensors"
    # The file holds halves, which the teacher turns into float32.
    assert found.encoder == pytest.approx(2 * weights.stat().st_size, rel=0.01)
    assert 0 < found.encoded <= found.encoding


def test_a_formula_takes_nothing() -> None:
    recipe = load_recipe(RECIPES / "analytic.yaml")
    parts, origin = components(recipe.prior, ROOT)
    assert (parts, origin) == ({}, "a formula")
    found = prior_memory(recipe.prior, recipe.guidance, parts, batch_size=4, render_size_px=64)
    assert found == PriorMemory()


def test_a_model_that_is_not_here_is_known_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    section = load_recipe(RECIPES / "sd15.yaml").prior
    parts, origin = components(section, tmp_path)
    assert origin.startswith("its published architecture")
    assert set(parts) == {"unet", "vae"}


def test_a_model_that_nobody_knows(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"^prior.source: no configuration .*fetch"):
        components(prior_of("if"), tmp_path)


def test_a_model_of_another_class() -> None:
    with pytest.raises(WeightsError, match=r"that of a FluxTransformer2DModel; expected one of"):
        on_meta({"_class_name": "FluxTransformer2DModel"}, "float32")
