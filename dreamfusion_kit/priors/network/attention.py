"""Attention whose backward gives the same bytes twice."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


def repeatable_attention(device: torch.device) -> AbstractContextManager[object]:
    """Return the context for a forward pass whose attention is differentiated.

    On CUDA the fused kernels' backward sums in no fixed order, unless strict determinism is
    enabled, which refuses other operations of a step; plain products keep their order. They
    hold the scores of all pairs until the gradient has passed. A CPU's kernel is repeatable.
    """
    return nullcontext() if device.type == "cpu" else sdpa_kernel(SDPBackend.MATH)
