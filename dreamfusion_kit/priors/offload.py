"""A model that lies in main memory and visits the device for each call."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def resident(
    model: torch.nn.Module, device: torch.device, *, offload: bool
) -> Generator[Any, None, None]:
    """Give `model` on `device`; with `offload`, take it back to main memory at the end.

    Whole models move, once a step: it costs the transfer of all weights both ways, and
    saves them from lying beside the VAE's activations and the field's.
    """
    if not offload:
        yield model
        return
    try:
        yield model.to(device)
    finally:
        model.to("cpu")
