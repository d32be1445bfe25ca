"""A model that stays in main memory and moves to the device for each call."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def resident(
    model: torch.nn.Module, device: torch.device, *, offload: bool
) -> Generator[Any, None, None]:
    """Yield `model` on `device`; with `offload`, move it back to main memory at the end.

    Whole models move, once per step. This costs the transfer of all weights both ways, and
    keeps them from occupying memory beside the VAE's activations and the field's.
    """
    if not offload:
        yield model
        return
    try:
        yield model.to(device)
    finally:
        model.to("cpu")
