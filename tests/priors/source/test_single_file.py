"""Single-file Stable Diffusions predict what their pipelines do, and others are refused."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTokenizer

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.build import build_prior
from dreamfusion_kit.priors.config.model_files import check_model
from dreamfusion_kit.priors.source import parts, single_file
from dreamfusion_kit.recipe.schema import FileSourceSection, LatentUnetSection

from ..test_latent_unet import section  # noqa: TID252
from .single_file_writer import VOCABULARY, write_single_file

PROMPTS = ["a Corgi, 3d render", ""]
TIMESTEP = torch.tensor([300, 800])


def source(file: Path, prediction_type: str = "epsilon") -> FileSourceSection:
    return FileSourceSection(
        kind="file",
        path=file.name,
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        prediction_type=prediction_type,
    )


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize("family", ["sd15", "sd21", "sdxl"])
def test_a_single_file_predicts_what_its_pipeline_does(tmp_path: Path, family: str) -> None:
    file = write_single_file(tmp_path, family)
    kind = "v_prediction" if family == "sd21" else "epsilon"
    asked: LatentUnetSection = section(source=source(file, kind), image_size_px=32)
    fetched = parts.bring(asked.source, {}, tmp_path, offline=False)
    check_model(asked, fetched.directory)
    prior = build_prior(asked, fetched.directory, "cpu")

    original = tmp_path / "directory"
    for suffix in ("", "_2"):  # a pipeline saves a tokenizer, which one file does not hold
        converted = fetched.directory / f"tokenizer{suffix}"
        if converted.is_dir():
            CLIPTokenizer.from_pretrained(converted).save_pretrained(original / converted.name)
            save_index(original, converted.name)
    expected = build_prior(section(image_size_px=32), original, "cpu")

    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    latents = prior.to_model_space(images)
    text, other = prior.encode_text(PROMPTS), expected.encode_text(PROMPTS)
    torch.testing.assert_close(latents, expected.to_model_space(images))
    assert text.tensors.keys() == other.tensors.keys()
    for name, rows in text.tensors.items():
        torch.testing.assert_close(rows, other.tensors[name])
    torch.testing.assert_close(
        prior.predict(latents, TIMESTEP, text), expected.predict(latents, TIMESTEP, other)
    )


def save_index(directory: Path, tokenizer: str) -> None:
    import json

    path = directory / "model_index.json"
    index = json.loads(path.read_text()) | {tokenizer: ["transformers", "CLIPTokenizer"]}
    path.write_text(json.dumps(index))


def test_the_vocabulary_is_clip_s(tmp_path: Path) -> None:
    fetched = parts.bring(source(write_single_file(tmp_path, "sd15")), {}, tmp_path, offline=False)
    tokenizer = CLIPTokenizer.from_pretrained(fetched.directory / "tokenizer")
    # The numbers of OpenAI's own tokenizer, as its repository's and transformers' tests have them.
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert tokenizer.pad_token_id == 49407
    assert len(tokenizer) == VOCABULARY


def test_a_conversion_is_pinned_and_made_again_where_it_is_gone(
    tmp_path: Path, own_cache: Path
) -> None:
    own = source(write_single_file(tmp_path, "sd15"))
    fetched = parts.bring(own, {}, tmp_path, offline=False)
    before = {file: file.stat().st_mtime_ns for file in fetched.directory.rglob("*")}
    assert parts.locate(own, {}, tmp_path, fetched.lock).directory == fetched.directory
    assert {file: file.stat().st_mtime_ns for file in fetched.directory.rglob("*")} == before
    fetched.directory.rename(own_cache / "gone")
    assert (
        parts.locate(own, {}, tmp_path, fetched.lock).directory == fetched.directory
    )  # to the byte
    (fetched.directory / "unet" / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"unet/config\.json"):
        parts.locate(own, {}, tmp_path, fetched.lock)


def test_another_file_than_the_pinned_one_is_refused(tmp_path: Path, own_cache: Path) -> None:
    own = source(write_single_file(tmp_path, "sd15"))
    changed = own.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(WeightsError, match=f"has the sha256 {own.sha256}; expected 0000"):
        parts.bring(changed, {}, tmp_path, offline=False)
    assert not list(own_cache.rglob("*.json"))


def _drop(part: str) -> Callable[[dict[str, Tensor]], None]:
    """Leave out all tensors whose name starts or ends so."""

    def drop(tensors: dict[str, Tensor]) -> None:
        for name in [name for name in tensors if name.startswith(part) or name.endswith(part)]:
            del tensors[name]

    return drop


def _widen(tensors: dict[str, Tensor]) -> None:
    name = "model.diffusion_model.input_blocks.0.0.weight"
    tensors[name] = torch.zeros(32, 9, 3, 3)


def _halve(tensors: dict[str, Tensor]) -> None:
    name = "model.diffusion_model.input_blocks.0.0.weight"
    tensors[name] = tensors[name].to(torch.int8)


def _scale(tensors: dict[str, Tensor]) -> None:
    tensors["model.diffusion_model.input_blocks.0.0.scale_weight"] = torch.ones(1)


def _label(tensors: dict[str, Tensor]) -> None:
    tensors["model.diffusion_model.label_emb.0.0.weight"] = torch.zeros(128, 1024)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_drop("first_stage_model."), "holds no VAE"),
        (_drop("cond_stage_model."), "holds no text encoder"),
        (_drop("model.diffusion_model."), "holds no U-Net"),
        (_drop("model.diffusion_model.out.2"), "lacks what"),
        (_drop(".proj_in.weight"), "lacks what .* file has .'proj_in.weight'"),
        (_drop(".attn2.to_k.weight"), "lacks what .* file has .'attn2.to_k.weight'"),
        (_drop(".1.conv.bias"), "a tensor is missing or not of the kind"),
        (_widen, "it also reads a masked picture"),
        (_halve, "not of the kind .*input_blocks.0.0.weight is of torch.int8"),
        (_scale, "its weights are quantized .*scale_weight"),
        (_label, "also reads a class"),
    ],
)
def test_a_file_that_is_no_text_to_image_model_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], None], said: str
) -> None:
    from safetensors.torch import load_file

    file = write_single_file(tmp_path, "sd15")
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)
    asked = section(source=source(file))
    with pytest.raises(WeightsError, match=said):
        check_model(asked, parts.bring(asked.source, {}, tmp_path, offline=False).directory)
    assert not list((single_file.converted_directory(asked.source).parent).glob(".partial*"))


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("sdxl", "model.diffusion_model.label_emb.0.2.weight"),
        ("sd21", "cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight"),
    ],
)
def test_what_no_renaming_can_read_is_one_line(tmp_path: Path, family: str, name: str) -> None:
    """A tensor that is not there, and one of another rank: diffusers raises as it meets them."""
    from safetensors.torch import load_file

    file = write_single_file(tmp_path, family)
    tensors = load_file(file)
    rows = tensors.pop(name)
    save_file(tensors if family == "sdxl" else {**tensors, name: rows.flatten()}, file)
    with pytest.raises(WeightsError, match="a tensor is missing or not of the kind") as caught:
        parts.bring(source(file), {}, tmp_path, offline=False)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("embedder", "said"), [(0, "holds no first text encoder"), (1, "holds no second text encoder")]
)
def test_sdxl_without_one_of_its_text_encoders_is_refused(
    tmp_path: Path, embedder: int, said: str
) -> None:
    from safetensors.torch import load_file

    file = write_single_file(tmp_path, "sdxl")
    tensors = load_file(file)
    _drop(f"conditioner.embedders.{embedder}.")(tensors)
    save_file(tensors, file)
    with pytest.raises(WeightsError, match=said):
        parts.bring(source(file), {}, tmp_path, offline=False)


def test_a_file_that_is_no_safetensors_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"PK\x03\x04 a pickle by another name")
    with pytest.raises(WeightsError, match=r"model\.safetensors: cannot be read"):
        parts.bring(source(file), {}, tmp_path, offline=False)


def test_a_mark_for_v_prediction_has_to_be_followed(tmp_path: Path) -> None:
    file = write_single_file(tmp_path, "sdxl", v_pred=torch.zeros(0), ztsnr=torch.zeros(0))
    with pytest.raises(WeightsError, match="marked as a model of v_prediction"):
        parts.bring(source(file), {}, tmp_path, offline=False)
    fetched = parts.bring(source(file, "v_prediction"), {}, tmp_path, offline=False)
    assert (
        '"rescale_betas_zero_snr": true'
        in (fetched.directory / "scheduler" / "scheduler_config.json").read_text()
    )
