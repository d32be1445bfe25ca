"""The plain towers against transformers' own class, which shares no code with them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel

from dreamfusion_kit import seeding
from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.clip_model import ClipModel, load_clip_model, read_config

_SHARED = {
    "hidden_size": 24, "intermediate_size": 40, "num_attention_heads": 3, "num_hidden_layers": 2,
}  # fmt: skip


def _save(directory: Path, *, eos: int = 1, activation: str = "quick_gelu") -> CLIPModel:
    text = _SHARED | {
        "vocab_size": 50, "max_position_embeddings": 9, "bos_token_id": 0, "eos_token_id": eos,
        "pad_token_id": 1, "hidden_act": activation,
    }  # fmt: skip
    vision = _SHARED | {"image_size": 16, "patch_size": 4, "hidden_act": activation}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=10))
        for parameter in model.parameters():  # the library's own start would hide most mistakes
            parameter.data.normal_(std=0.3)
    model.save_pretrained(directory)
    return model.eval()


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("eos", [1, 2])
def test_features_are_those_of_transformers(tmp_path: Path, eos: int, activation: str) -> None:
    """An end mark of 2 means the rule from before 2023: the highest token id."""
    reference = _save(tmp_path, eos=eos, activation=activation)
    model = load_clip_model(tmp_path)
    pixels = torch.randn(3, 3, 16, 16, generator=seeding.generator(0, "test"))
    tokens = torch.tensor([[0, 7, 30, 1, 1, 1, 1, 1, 1], [0, 5, 49, 20, 9, 8, 7, 6, 1]])
    with torch.no_grad():
        images = reference.get_image_features(pixel_values=pixels).pooler_output
        texts = reference.get_text_features(input_ids=tokens).pooler_output
        torch.testing.assert_close(model.image_features(pixels), images, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(model.text_features(tokens), texts, rtol=1e-5, atol=1e-5)


def test_shards_are_read_as_one_file(tmp_path: Path) -> None:
    _save(tmp_path)
    whole = load_clip_model(tmp_path).state_dict()
    _split(tmp_path, "rest.safetensors")
    parts = load_clip_model(tmp_path).state_dict()
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize("name", ["../rest.safetensors", "rest.bin", "/etc/passwd", 3])
def test_an_index_names_only_files_beside_it(tmp_path: Path, name: Any) -> None:
    _save(tmp_path)
    _split(tmp_path, "rest.safetensors")
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(index.read_text().replace('"rest.safetensors"', json.dumps(name)))
    with pytest.raises(WeightsError, match="does not load"):
        load_clip_model(tmp_path)


def _split(directory: Path, second: str) -> None:
    path = directory / "model.safetensors"
    tensors = load_file(path)
    names = {name: "model.safetensors" if "text" in name else second for name in tensors}
    for file in set(names.values()):
        save_file({n: t for n, t in tensors.items() if names[n] == file}, directory / file)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "siglip"},
        {"projection_dim": 1 << 30},
        {"text_config": {"hidden_size": 10**12}},
        {"text_config": {"num_hidden_layers": True}},
        {"vision_config": {"hidden_act": "exec"}},
        {"vision_config": {"hidden_size": 100, "num_attention_heads": 7}},
        {"vision_config": 3},
    ],
)
def test_a_configuration_that_no_clip_has_is_refused(tmp_path: Path, changes: Any) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "clip"} | changes))
    with pytest.raises(WeightsError, match="cannot be read as a CLIP"):
        read_config(path)


def test_what_a_configuration_leaves_out_is_as_in_transformers(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    written = {"model_type": "clip", "text_config_dict": {"hidden_size": 1024}}
    path.write_text(json.dumps(written))
    found, expected = read_config(path), CLIPConfig(**written)
    assert found.projection_dim == expected.projection_dim
    for ours, theirs in (
        (found.text, expected.text_config),
        (found.vision, expected.vision_config),
    ):
        for name, value in ours.items():
            assert value == getattr(theirs, name), name


WIDTHS = {
    "B/32": {"vision": {"patch_size": 32}},
    "B/16": {"vision": {"patch_size": 16}},
    "L/14": {
        "text": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
        "vision": {
            "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16,
            "num_hidden_layers": 24, "patch_size": 14,
        },
    },
    "OpenCLIP H/14": {
        "text": {
            "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16,
            "num_hidden_layers": 24, "hidden_act": "gelu",
        },
        "vision": {
            "hidden_size": 1280, "intermediate_size": 5120, "num_attention_heads": 16,
            "num_hidden_layers": 32, "patch_size": 14, "hidden_act": "gelu",
        },
    },
}  # fmt: skip


@pytest.mark.parametrize("name", WIDTHS)
def test_published_architectures_have_the_tensors_of_transformers(
    tmp_path: Path, name: str
) -> None:
    """Names and shapes alone, without memory for the values."""
    config = CLIPConfig(
        text_config=WIDTHS[name].get("text", {}),
        vision_config=WIDTHS[name]["vision"],
        projection_dim=512,
    )
    (tmp_path / "config.json").write_text(config.to_json_string(use_diff=False))
    with torch.device("meta"):
        ours, theirs = ClipModel(read_config(tmp_path / "config.json")), CLIPModel(config)
    expected = {key: value.shape for key, value in theirs.state_dict().items()}
    expected = {key: shape for key, shape in expected.items() if "position_ids" not in key}
    assert {key: value.shape for key, value in ours.state_dict().items()} == expected
