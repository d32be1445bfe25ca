"""Weighted sums of table rows: the one expensive operation of both grids.

Trilinear interpolation is a weighted sum of the eight rows at the corners of a cell.
On two CPU cores, 65,536 samples of 8 channels in a 64^3 grid cost, forward and backward:
31 ms with `grid_sample` (its backward uses one core), 19 ms with plain indexing, 35 ms
with `embedding_bag` and its own backward, 13 ms with `embedding_bag` forward and
`index_add_` backward, which is this file. Two runs give the same bytes on a CPU; on
CUDA they do under `torch.use_deterministic_algorithms(True)`.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Samples whose gradient is spread at once. Fresh memory for all of 147,000 samples cost a
# quarter of the backward; the sum is the same to the bit for any chunk.
_CHUNK = 32768


class _WeightedRows(torch.autograd.Function):
    """`sum_k weights[:, k] * table[indices[:, k]]`, differentiable in the table alone."""

    @staticmethod
    def forward(  # Any: torch names no type for the context.
        ctx: Any, table: Tensor, indices: Tensor, weights: Tensor
    ) -> Tensor:
        ctx.save_for_backward(indices, weights)
        ctx.num_rows = len(table)
        return torch.nn.functional.embedding_bag(
            indices, table, per_sample_weights=weights, mode="sum"
        )

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        indices, weights = ctx.saved_tensors
        channels = gradient.shape[1]
        table_gradient = gradient.new_zeros(ctx.num_rows, channels)
        chunks = (tensor.split(_CHUNK) for tensor in (indices, weights, gradient))
        for rows, shares, values in zip(*chunks, strict=True):
            addends = (values[:, None, :] * shares[:, :, None]).reshape(-1, channels)
            table_gradient.index_add_(0, rows.reshape(-1), addends)
        return table_gradient, None, None


def weighted_rows(
    table: Float[Tensor, "rows channels"],
    indices: Int[Tensor, "samples corners"],
    weights: Float[Tensor, "samples corners"],
) -> Float[Tensor, "samples channels"]:
    """Return for each sample the weighted sum of its table rows.

    Differentiable with respect to `table` alone, once. `indices` are int64: the 32-bit
    path of `index_add_` took three times as long.
    """
    return _WeightedRows.apply(table, indices, weights)


def corner_weights(fractions: Float[Tensor, "*points 3"]) -> Float[Tensor, "*points 8"]:
    """Return the trilinear weights of a cell's corners; they sum to 1.

    `fractions` in [0, 1] say where in its cell a point lies. Corner `4 i + 2 j + k` lies
    at offset (i, j, k), each 0 or 1.
    """
    x, y, z = fractions.unbind(dim=-1)
    lower_x, lower_y, lower_z = 1 - x, 1 - y, 1 - z
    faces = torch.stack([lower_x * lower_y, lower_x * y, x * lower_y, x * y], dim=-1)
    corners = torch.stack([faces * lower_z[..., None], faces * z[..., None]], dim=-1)
    return corners.flatten(start_dim=-2)
