"""Resizing of renders to a model's own size, with a gradient of fixed order.

PyTorch's antialiased resize sums its gradient on a GPU in no fixed order. It is linear in rows
and in columns, so two matrix products do the same.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Mode = Literal["bilinear", "bicubic"]


def resized(
    images: Float[Tensor, "batch channels h w"], side: int, mode: Mode
) -> Float[Tensor, "batch channels size size"]:
    """Return the images as squares of `side` pixels, as antialiased `interpolate` resizes them."""
    height, width = images.shape[-2:]
    if (height, width) == (side, side):
        return images
    return _shares(height, side, mode, images) @ images @ _shares(width, side, mode, images).T


def _shares(old: int, new: int, mode: Mode, like: Tensor) -> Float[Tensor, "rows columns"]:
    """Return the weight of each old row in each new one."""
    rows = torch.eye(old, device=like.device, dtype=like.dtype)[None, None]
    return torch.nn.functional.interpolate(rows, (new, old), mode=mode, antialias=True)[0, 0]
