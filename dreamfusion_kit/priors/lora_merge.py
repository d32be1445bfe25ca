"""LoRAs from files (arXiv 2106.09685), merged into a model's weights when it is read.

    W becomes W + scale * (alpha / rank) * up down,   in float32, then rounded to W's format.

Two layouts are read. kohya's names a module by its path with underscores behind `lora_unet_`,
`lora_te_`, `lora_te1_` or `lora_te2_`; in SDXL's files the paths are those of the original
repository. diffusers' has the path itself behind `unet.`, `transformer.` or `text_encoder.`.
A file that has a tensor which finds no place is refused: it belongs to another model.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from diffusers.loaders import lora_conversion_utils
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.printable import printable

_LIBRARY: Any = lora_conversion_utils  # its table of blocks has no public name
_KOHYA = {
    "lora_unet_": "denoiser",
    "lora_transformer_": "denoiser",
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "lora_te3_": "text_encoder_3",
}
_DIFFUSERS = {
    "unet.": "denoiser",
    "transformer.": "denoiser",
    "diffusion_model.": "denoiser",
    "text_encoder.": "text_encoder",
    "text_encoder_2.": "text_encoder_2",
    "text_encoder_3.": "text_encoder_3",
}
_ROLES = {
    ".lora_down.weight": "down",
    ".lora_up.weight": "up",
    ".lora_A.weight": "down",
    ".lora_B.weight": "up",
    ".lora.down.weight": "down",
    ".lora.up.weight": "up",
    "_lora.down.weight": "down",
    "_lora.up.weight": "up",
    ".alpha": "alpha",
}
# What the original repository calls the parts of a U-Net.
_WORDS = {
    "_input_blocks_0_0": "_conv_in",
    "_input_blocks_": "_down_blocks_",
    "_middle_block_": "_mid_block_",
    "_output_blocks_": "_up_blocks_",
    "_in_layers_2": "_conv1",
    "_out_layers_3": "_conv2",
    "_emb_layers_1": "_time_emb_proj",
    "_skip_connection": "_conv_shortcut",
    "_downsamplers_0_op": "_downsamplers_0_conv",
    "_time_embed_0": "_time_embedding_linear_1",
    "_time_embed_2": "_time_embedding_linear_2",
    "_label_emb_0_0": "_add_embedding_linear_1",
    "_label_emb_0_2": "_add_embedding_linear_2",
    "lora_unet_out_2": "lora_unet_conv_out",
}
# Older diffusers files name the attention's processor, and its output without a number.
_PROCESSOR = re.compile(r"\.processor(?=\.)")
_OTHER_METHODS = {
    "dora_scale": "a DoRA",
    "lora_magnitude_vector": "a DoRA",
    "hada_": "a LoHa",
    "lokr_": "a LoKr",
    "lora_mid": "a LoCon in three parts",
    "oft_": "an OFT",
    "diff": "a difference of whole weights",
}


@dataclass
class _Part:
    tensors: dict[str, Tensor] = field(default_factory=dict[str, Tensor])


@dataclass(frozen=True)
class Lora:
    """A file's matrices: by component, by module path with underscores."""

    name: str
    parts: Mapping[str, Mapping[str, _Part]]

    def components(self) -> set[str]:
        """Return the components that it adapts: "denoiser", "text_encoder" and so on."""
        return set(self.parts)


def read_lora(path: Path, *, layers_per_block: int | None = None) -> Lora:
    """Return the content of a LoRA's file.

    Args:
        path: A safetensors file.
        layers_per_block: The U-Net's, by which names of the original repository are counted.

    Raises WeightsError for other methods, damaged files and names of no known layout.
    """
    name = path.name
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in sorted(file.keys())}
            scales = _scales_of(file.metadata() or {})
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{name}: cannot be read ({printable(str(error))}); expected a LoRA's safetensors; "
            "restore the file"
        ) from None
    for key in tensors:
        endings = key.split(".")[1:][-2:]
        for mark, method in _OTHER_METHODS.items():
            if any(ending.startswith(mark) for ending in endings):
                raise WeightsError(
                    f"{name}: is {method} ({printable(key, 80)}); expected a LoRA of two matrices "
                    "a layer; merge it with its trainer's own tool, and use the merged model"
                )
    parts: dict[str, dict[str, _Part]] = {}
    for key, tensor in _renamed(tensors, layers_per_block, name).items():
        component, module, role = _place(key, name)
        part = parts.setdefault(component, {}).setdefault(module, _Part())
        part.tensors[role] = tensor
    for modules in parts.values():
        for module, part in modules.items():
            if not {"down", "up"} <= part.tensors.keys():
                raise WeightsError(
                    f"{name}: {printable(module, 80)} lacks one of its two matrices; expected "
                    "both; restore the file"
                )
            if "alpha" not in part.tensors and scales is not None:
                part.tensors["alpha"] = torch.tensor(scales)
    return Lora(name, parts)


def merge(model: nn.Module, component: str, loras: Sequence[tuple[Lora, float]]) -> None:
    """Add what each LoRA has for `component` to the model's weights, in order.

    Raises WeightsError where a module is missing or of another shape.
    """
    modules = _by_underscores(model) if loras else {}
    for lora, scale in loras:
        for name, part in lora.parts.get(component, {}).items():
            _add(_find(modules, name, lora.name, component), part, scale, lora.name, name)


def check_fits(model: nn.Module, component: str, loras: Iterable[Lora]) -> None:
    """Raise what `merge` would, without any number: for models on the meta device."""
    modules = _by_underscores(model)
    for lora in loras:
        for name, part in lora.parts.get(component, {}).items():
            module = _find(modules, name, lora.name, component)
            _shape(module, part, lora.name, name)


def _scales_of(metadata: Mapping[str, str]) -> float | None:
    """Return the alpha of all layers that diffusers keeps in a file's header, if one is there."""
    try:
        adapter: Any = json.loads(metadata.get("lora_adapter_metadata", "null"))
    except ValueError:
        return None
    if not isinstance(adapter, dict):
        return None
    alphas: set[Any] = {value for key, value in adapter.items() if key.endswith("lora_alpha")}
    if any(value for key, value in adapter.items() if key.endswith("alpha_pattern")):
        raise WeightsError(
            "a LoRA with an alpha of its own for some layers (alpha_pattern): expected one for "
            "all; save it with its alphas as tensors, as kohya does"
        )
    return float(alphas.pop()) if len(alphas) == 1 else None


def _renamed(
    tensors: dict[str, Tensor], layers_per_block: int | None, name: str
) -> dict[str, Tensor]:
    if layers_per_block is None or not any(key.startswith("lora_unet_") for key in tensors):
        return tensors
    try:
        # The library's own table between the original repository's blocks and diffusers'.
        counted = _LIBRARY._maybe_map_sgm_blocks_to_diffusers(
            dict(tensors), SimpleNamespace(layers_per_block=layers_per_block)
        )
    except (ValueError, IndexError) as error:
        raise WeightsError(
            f"{name}: names blocks that no U-Net has ({printable(str(error), 120)}); expected "
            "kohya's or diffusers' layout; choose another file"
        ) from None
    return {_in_diffusers_words(key): tensor for key, tensor in counted.items()}


def _in_diffusers_words(key: str) -> str:
    """Return a key of the U-Net with the original repository's words for its parts replaced."""
    if key.startswith("lora_unet_"):
        for theirs, ours in _WORDS.items():
            key = key.replace(theirs, ours)
    return key


def _place(key: str, name: str) -> tuple[str, str, str]:
    """Return a tensor's component, its module with underscores, and its role."""
    for ending, role in _ROLES.items():
        if key.endswith(ending):
            path = key.removesuffix(ending)
            for start, component in _KOHYA.items():
                if path.startswith(start):
                    return component, path.removeprefix(start), role
            for start, component in _DIFFUSERS.items():
                if path.startswith(start):
                    module = _PROCESSOR.sub("", path.removeprefix(start))
                    module = module.removeprefix("base_model.model.")
                    return component, module.replace(".", "_"), role
    raise WeightsError(
        f"{name}: has {printable(key, 80)}, which is no tensor of a LoRA in kohya's or diffusers' "
        "layout; expected two matrices a layer; choose another file"
    )


def _by_underscores(model: nn.Module) -> dict[str, nn.Module]:
    found = {
        path.replace(".", "_"): module
        for path, module in model.named_modules()
        if isinstance(getattr(module, "weight", None), Tensor)
    }
    # Text encoders with and without the part that transformers dropped from the path.
    found |= {f"text_model_{path}": module for path, module in list(found.items())}
    return found


def _find(modules: Mapping[str, nn.Module], name: str, file: str, component: str) -> nn.Module:
    module = modules.get(name) or modules.get(f"{name}_0")  # to_out is a list of two
    if module is None:
        raise WeightsError(
            f"{file}: adapts {printable(name, 80)}, which this model's {component} does not have; "
            "expected a LoRA of the same architecture; choose another LoRA or another prior"
        )
    return module


def _shape(module: nn.Module, part: _Part, file: str, name: str) -> tuple[int, ...]:
    weight: Any = module.weight
    down, up = part.tensors["down"], part.tensors["up"]
    fits = (
        down.shape[0] == up.shape[1]
        and up.shape[0] == weight.shape[0]
        and up.shape[0] * down[0].numel() == weight.numel()
        and up[0, 0].numel() == 1
    )
    if not fits:
        raise WeightsError(
            f"{file}: {printable(name, 80)} is for a weight of {up.shape[0]} x {down[0].numel()}; "
            f"expected {tuple(weight.shape)}; choose another LoRA or another prior"
        )
    return tuple(weight.shape)


@torch.no_grad()
def _add(module: nn.Module, part: _Part, scale: float, file: str, name: str) -> None:
    shape = _shape(module, part, file, name)
    weight: Any = module.weight
    down, up = part.tensors["down"].float(), part.tensors["up"].float()
    alpha = part.tensors.get("alpha")
    factor = scale * (1.0 if alpha is None else float(alpha) / down.shape[0])
    change = (up.flatten(1) @ down.flatten(1)).reshape(shape)
    weight.copy_(weight.float() + factor * change.to(weight.device))
