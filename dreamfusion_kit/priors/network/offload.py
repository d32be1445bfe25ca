"""Where a denoiser's weights are between two predictions, and in which format they wait there."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.hooks import (
    apply_group_offloading,  # pyright: ignore[reportPrivateImportUsage]
)

from dreamfusion_kit.recipe import schema

Section = (
    schema.LatentUnetSection
    | schema.MultiViewUnetSection
    | schema.FlowTransformerSection
    | schema.LatentTransformerSection
)


def placed(model: torch.nn.Module, section: Section, device: torch.device) -> torch.nn.Module:
    """Return a model that was just read, in the format and the place that the recipe asks for.

    Whole models that are moved for each prediction stay in main memory: see `resident`. With
    groups, diffusers' hooks move each block in for its own forward pass, and out again.
    """
    found: Any = model
    store(found, section)
    match section.cpu_offload:
        case False:
            return found.to(device)
        case True:
            return found
        case "group":
            if device.type != "cpu":  # there, main memory is where the blocks already are
                apply_group_offloading(
                    found,
                    onload_device=device,
                    offload_device=torch.device("cpu"),
                    offload_type="block_level",
                    num_blocks_per_group=1,
                )
            return found


def store(model: Any, section: Section) -> None:
    """Let the model's large layers wait in the recipe's storage format, if it names one."""
    if section.storage_dtype is not None:
        model.enable_layerwise_casting(
            storage_dtype=getattr(torch, section.storage_dtype),
            compute_dtype=getattr(torch, section.dtype),
        )


@contextmanager
def resident(
    model: torch.nn.Module, device: torch.device, *, offload: bool | str
) -> Generator[Any, None, None]:
    """Yield `model` on `device`; with `offload` true, move it back to main memory at the end.

    Whole models move, once per step. This costs the transfer of all weights both ways, and
    keeps them from occupying memory beside the VAE's activations and the field's.
    """
    if offload is not True:
        yield model
        return
    try:
        yield model.to(device)
    finally:
        model.to("cpu")
