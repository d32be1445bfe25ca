"""Reads a CLIP from its directory: config.json and safetensors, as transformers writes them.

The one way in which a CLIP is loaded, for the guidance and for the judges.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.network.clip_model import ACTIVATIONS, ClipConfig, ClipModel

# Defaults of transformers' CLIPTextConfig and CLIPVisionConfig for keys that a file omits.
_SHARED = {"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "num_hidden_layers": 12}
_TEXT = _SHARED | {
    "hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8,
    "max_position_embeddings": 77, "vocab_size": 49408, "eos_token_id": 49407,
}  # fmt: skip
_VISION = _SHARED | {
    "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12,
    "image_size": 224, "patch_size": 32, "num_channels": 3,
}  # fmt: skip
_BUFFERS = ("text_model.embeddings.position_ids", "vision_model.embeddings.position_ids")


def load_clip_model(directory: Path) -> ClipModel:
    """Return the CLIP of a directory in float32 on the CPU, in evaluation mode.

    Raises `WeightsError` unless config.json and model.safetensors are intact and fit together.
    """
    config = read_config(directory / "config.json")
    with torch.device("meta"):  # a configuration alone never takes memory
        model = ClipModel(config)
    try:
        tensors = _tensors(directory)
        values = {name: value.float() for name, value in tensors.items() if name not in _BUFFERS}
        missing, unexpected = model.load_state_dict(values, strict=False, assign=True)
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = str(error).replace("\n", " ").replace("\t", " ")
        raise WeightsError(
            f"{directory}: found a CLIP that does not load ({type(error).__name__}: {reason:.300}),"
            " expected the model.safetensors that config.json describes; fetch it again"
        ) from error
    wrong = sorted([*missing, *unexpected])
    if wrong:
        raise WeightsError(
            f"{directory}: found {len(missing)} parameters without values and {len(unexpected)} "
            f"that no CLIP has (first: {wrong[0]}), expected a complete CLIP checkpoint; "
            "fetch it again"
        )
    return model.eval().requires_grad_(requires_grad=False)


def read_config(path: Path) -> ClipConfig:
    """Return the configuration; raise `WeightsError` if it is not that of a CLIP."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        kind = found.get("model_type")
        if kind != "clip":
            raise ValueError(f"model_type {kind!r}")
        config = ClipConfig(
            _section(found, "text_config", _TEXT),
            _section(found, "vision_config", _VISION),
            _count(found.get("projection_dim", 512), "projection_dim"),
        )
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise WeightsError(
            f"{path}: cannot be read as a CLIP ({type(error).__name__}: {error}), expected "
            "transformers' config.json of model_type clip; fetch it again"
        ) from error
    return config


def _section(found: Mapping[str, Any], key: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tower's settings; `<key>_dict` of old files wins, as in transformers."""
    section = {**defaults, **(found.get(key) or {})}
    older = found.get(f"{key}_dict")
    if older is not None:
        section = {**section, **defaults, **older}
    for name, default in defaults.items():
        if isinstance(default, int):
            _count(section[name], name)
    if section["hidden_size"] % section["num_attention_heads"]:
        raise ValueError("hidden_size is not a multiple of num_attention_heads")
    if section["hidden_act"] not in ACTIVATIONS:
        raise ValueError(f"hidden_act {section['hidden_act']!r}")
    return section


def _count(value: Any, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 20:
        raise ValueError(f"{name} {value!r}")
    return value


def _tensors(directory: Path) -> dict[str, Tensor]:
    """Return the checkpoint's tensors, from one file or from the shards that an index names."""
    index = directory / "model.safetensors.index.json"
    if not index.is_file():
        return load_file(directory / "model.safetensors")
    try:
        named: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards = sorted(set(named.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OSError(f"{index.name} cannot be read") from error
    tensors: dict[str, Tensor] = {}
    for shard in shards:
        if Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise OSError(f"{index.name} names {shard!r}, no .safetensors file beside it")
        tensors |= load_file(directory / shard)
    return tensors
