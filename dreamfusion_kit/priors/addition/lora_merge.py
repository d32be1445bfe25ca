"""LoRAs from files (arXiv 2106.09685), merged into a model's weights when it is read.

    W becomes W + scale * strength * up down,   in float32, then rounded to W's format;
    the strength is alpha / rank, or what the file's header says (lora_header).

Two layouts are read, kohya's and diffusers' (lora_names), with the names that diffusers or the
original repository has for a model's modules (lora_original). A file that has a tensor which finds
no place is refused: it belongs to another model.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.addition.lora_header import Scaling, read_scalings
from dreamfusion_kit.priors.addition.lora_names import DIFFUSERS, place_of, renamed
from dreamfusion_kit.priors.addition.lora_original import in_diffusers_names
from dreamfusion_kit.priors.config.distilled import refuse_distilled_header
from dreamfusion_kit.priors.printable import printable

_OTHER_METHODS = {
    "dora_scale": "a DoRA",
    "lora_magnitude_vector": "a DoRA",
    "hada_": "a LoHa",
    "lokr_": "a LoKr",
    "lora_mid": "a LoCon in three parts",
    "oft_": "an OFT",
    "diff": "a difference of whole weights",
}


@dataclass(frozen=True)
class _Part:
    tensors: Mapping[str, Tensor]
    strength: float


@dataclass(frozen=True)
class Lora:
    """A file's matrices: by component, by module path with underscores."""

    name: str
    parts: Mapping[str, Mapping[str, _Part]]


def read_lora(path: Path, *, layers_per_block: int | None = None) -> Lora:
    """Return the content of a LoRA's file.

    Args:
        path: A safetensors file.
        layers_per_block: The U-Net's, by which names of the original repository are counted.

    Raises WeightsError for other methods, damaged files, names of no known layout, and LoRAs that
    by their header turn a model into one of a few steps.
    """
    name = path.name
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in sorted(file.keys())}
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{name}: cannot be read ({printable(str(error))}); expected a LoRA's safetensors; "
            "restore the file"
        ) from None
    refuse_distilled_header(metadata, name)
    for key in tensors:
        endings = key.split(".")[1:][-2:]
        for mark, method in _OTHER_METHODS.items():
            if any(ending.startswith(mark) for ending in endings):
                raise WeightsError(
                    f"{name}: is {method} ({printable(key, 80)}); expected a LoRA of two matrices "
                    "a layer; merge it with its trainer's own tool, and use the merged model"
                )
    scalings = _by_component(read_scalings(metadata, name))
    parts: dict[str, dict[str, _Part]] = {}
    for component, modules in _by_place(renamed(tensors, layers_per_block, name), name).items():
        scaling = scalings.get(component) or scalings.get("") or Scaling()
        own = parts.setdefault(component, {})
        for module, matrices in in_diffusers_names(modules):
            if module in own:
                raise _twice(name, module)
            own[module] = _part(matrices, scaling, module, name)
    if not parts:
        raise WeightsError(
            f"{name}: holds no tensor, and would change nothing; expected a LoRA of two matrices a "
            "layer; restore the file"
        )
    return Lora(name, parts)


def _by_place(tensors: Mapping[str, Tensor], name: str) -> dict[str, dict[str, dict[str, Tensor]]]:
    """Return the tensors by component, module and role."""
    found: dict[str, dict[str, dict[str, Tensor]]] = {}
    for key, tensor in tensors.items():
        component, module, role = place_of(key, name)
        own = found.setdefault(component, {}).setdefault(module, {})
        if role in own:
            raise _twice(name, key)
        own[role] = tensor
    return found


def _twice(name: str, key: str) -> WeightsError:
    return WeightsError(
        f"{name}: has two tensors for one place, the second {printable(key, 80)}; expected one "
        "layout; save it again with its trainer"
    )


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


def _by_component(scalings: Mapping[str, Scaling]) -> dict[str, Scaling]:
    """Return a header's settings by component; those of others adapt nothing that is read."""
    components = {"": "", **{start.rstrip("."): name for start, name in DIFFUSERS.items()}}
    return {components[name]: own for name, own in scalings.items() if name in components}


def _part(tensors: Mapping[str, Tensor], scaling: Scaling, module: str, name: str) -> _Part:
    """Return a module's matrices with their strength."""
    _check_tensors(tensors, module, name)
    alpha = float(tensors["alpha"]) if "alpha" in tensors else None
    return _Part(tensors, scaling.strength(tensors["down"].shape[0], alpha))


def _check_tensors(tensors: Mapping[str, Tensor], module: str, name: str) -> None:
    """Raise WeightsError where there are not two matrices, and perhaps one alpha."""
    if not {"down", "up"} <= tensors.keys():
        raise WeightsError(
            f"{name}: {printable(module, 80)} lacks one of its two matrices; expected both; "
            "restore the file"
        )
    for role in ("down", "up"):
        tensor = tensors[role]
        if tensor.ndim < 2 or not tensor.numel() or not tensor.is_floating_point():
            raise WeightsError(
                f"{name}: {printable(module, 80)} has a {role} of {tuple(tensor.shape)} in "
                f"{tensor.dtype}; expected a matrix of floats; restore the file"
            )
        if not bool(tensor.float().isfinite().all()):  # 8-bit floats have no isfinite
            raise WeightsError(
                f"{name}: {printable(module, 80)} has a {role} with numbers that are not finite; "
                "expected a LoRA of a training that did not diverge; choose another file"
            )
    alpha = tensors.get("alpha", torch.ones(()))
    if alpha.numel() != 1 or alpha.is_complex() or not bool(alpha.isfinite().all()):
        raise WeightsError(
            f"{name}: {printable(module, 80)} has an alpha of {tuple(alpha.shape)}; expected one "
            "finite number; restore the file"
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
    factor = scale * part.strength
    change = (up.flatten(1) @ down.flatten(1)).reshape(shape)
    weight.copy_(weight.float() + factor * change.to(weight.device))
