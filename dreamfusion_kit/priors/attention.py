"""Attention whose backward gives the same bytes twice."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel


def repeatable_attention(device: torch.device) -> AbstractContextManager[object]:
    """Return what a forward pass runs in where gradients go back through its attention.

    On CUDA the fused kernels' backward adds up in any order, unless strict determinism is
    asked for, which refuses other operations of a step; plain products keep theirs. They hold
    the scores of all pairs until the gradient has passed. A CPU's kernel repeats as it is.
    """
    return nullcontext() if device.type == "cpu" else sdpa_kernel(SDPBackend.MATH)
