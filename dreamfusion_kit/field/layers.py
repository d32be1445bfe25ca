"""Linear layers drawn from a generator of their own."""

import torch
from torch import nn


def linear(width_in: int, width_out: int, *, generator: torch.Generator) -> nn.Linear:
    """Return a layer of normal weights of variance 1 / `width_in` and biases of 0."""
    # Built without storage first: nn.Linear would draw from the global generator.
    layer = nn.Linear(width_in, width_out, device="meta").to_empty(device=generator.device)
    nn.init.normal_(layer.weight, std=width_in**-0.5, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer
