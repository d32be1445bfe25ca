"""The directories of saved models: written in half precision, and expected to be complete."""

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dreamfusion_kit.command_name import command_name
from dreamfusion_kit.errors import WeightsError


def half_precision(module: nn.Module) -> Any:
    """Return a copy on the CPU that can be saved, in half precision."""
    half = copy.deepcopy(module).cpu().half()
    # Safetensors refuses the strides of channels-last kernels.
    return half.to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]


def expect_files(directory: Path, *names: str, made_by: str) -> None:
    """Raise `WeightsError` unless a model's files are in its directory.

    `made_by` is the command of the toybox that writes them.
    """
    for name in names:
        if not (directory / name).is_file():
            raise WeightsError(
                f"{directory / name}: not there, expected a file of a trained model; run "
                f"`{command_name()} toybox {made_by}`, or correct the path in toybox/params.yaml"
            )
