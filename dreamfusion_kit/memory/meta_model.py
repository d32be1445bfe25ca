"""Models with shapes but no numbers, and how many bytes their weights take."""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import (
    AuraFlowTransformer2DModel,  # pyright: ignore[reportPrivateImportUsage]
    AutoencoderKL,  # pyright: ignore[reportPrivateImportUsage]
    SD3Transformer2DModel,  # pyright: ignore[reportPrivateImportUsage]
    UNet2DConditionModel,  # pyright: ignore[reportPrivateImportUsage]
)

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.memory.architectures import Config
from dreamfusion_kit.priors.families.choose import FAMILIES
from dreamfusion_kit.priors.network import offload

_CLASSES: Mapping[str, Any] = {
    "UNet2DConditionModel": UNet2DConditionModel,
    "SD3Transformer2DModel": SD3Transformer2DModel,
    "AuraFlowTransformer2DModel": AuraFlowTransformer2DModel,
    "AutoencoderKL": AutoencoderKL,
    **{family.transformer_class.__name__: family.transformer_class for family in FAMILIES},
    **{family.vae_class.__name__: family.vae_class for family in FAMILIES},
}


def on_meta(config: Config, dtype: str) -> Any:
    """Return the model of a `config.json`, frozen, with shapes but no numbers."""
    name: str = config.get("_class_name", "model without a class")
    if name not in _CLASSES:
        raise WeightsError(
            f"prior.source: its configuration is that of a {name}; expected one of "
            f"{', '.join(_CLASSES)}; choose another prior.source"
        )
    public = {key: value for key, value in config.items() if not key.startswith("_")}
    with torch.device("meta"):
        model = _CLASSES[name].from_config(public)
    # Not with diffusers' own `to`, which warns about precision, as if there were numbers.
    return torch.nn.Module.to(model, getattr(torch, dtype)).eval().requires_grad_(False)


def stored(config: Config, section: offload.Section) -> Any:
    """Return a denoiser on the meta device in the format in which its weights wait."""
    model = on_meta(config, section.dtype)
    offload.store(model, section)
    return model


def module_bytes(module: torch.nn.Module) -> int:
    """Return the memory of all parameters and buffers."""
    return sum(tensor.nbytes for tensor in [*module.parameters(), *module.buffers()])


def moved_at_once(model: torch.nn.Module) -> int:
    """Return the bytes on the device where blocks are moved in one by one, at their most.

    As diffusers groups them: the members of lists move, all that is outside of lists stays.
    """
    blocks = [
        block
        for child in model.children()
        if isinstance(child, torch.nn.ModuleList | torch.nn.Sequential)
        for block in child
    ]
    sizes = [module_bytes(block) for block in blocks]
    return module_bytes(model) - sum(sizes) + max(sizes, default=0)
