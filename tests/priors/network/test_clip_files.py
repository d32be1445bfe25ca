"""A CLIP's directory: shards, configurations, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.network.clip_files import load_clip_model, read_config

from .tiny_clip import save_tiny_clip


def test_shards_are_read_as_one_file(tmp_path: Path) -> None:
    save_tiny_clip(tmp_path)
    whole = load_clip_model(tmp_path).state_dict()
    _split(tmp_path, "rest.safetensors")
    parts = load_clip_model(tmp_path).state_dict()
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize("name", ["../rest.safetensors", "rest.bin", "/etc/passwd", 3])
def test_an_index_names_only_files_beside_it(tmp_path: Path, name: Any) -> None:
    save_tiny_clip(tmp_path)
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
