"""Weighted sums of table rows: the one expensive operation of both grids.

Trilinear interpolation is a weighted sum of the eight rows at the corners of a cell.
On two CPU cores, 65,536 samples of 8 channels in a 64^3 grid cost, forward and backward:
31 ms with `grid_sample` (its backward uses one core), 19 ms with plain indexing, 35 ms
with `embedding_bag` and its own backward, 13 ms with `embedding_bag` forward and
`index_add_` backward, which is this file. Two runs give the same bytes: on a CPU each
row's addends have a fixed order, and on CUDA, where they have none, they are integers.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

# For a chunk of samples, the rows at their corners and the rows' weights, both `samples corners`.
Corners = tuple[Tensor, Tensor]

NUM_CORNERS = 8

# Samples whose gradient is spread at once. Fresh memory for all of 147,000 samples cost a
# quarter of the backward; the sum is the same to the bit for any chunk.
_CHUNK = 32768
_CUDA_CHUNK = 1 << 18  # fewer and larger launches: 24 MiB for each channel of the table

_SUM_BITS = 62  # of the 63 that int64 has beside its sign; one is spare for rounding
_MAX_SHIFT = 120  # the unit stays a normal number of float32


class _WeightedRows(torch.autograd.Function):
    """`sum_k weights[:, k] * table[indices[:, k]]`, differentiable in the table alone."""

    @staticmethod
    def forward(  # Any: torch names no type for the context.
        ctx: Any, table: Tensor, indices: Tensor, weights: Tensor
    ) -> Tensor:
        ctx.save_for_backward(indices, weights)
        ctx.num_rows = len(table)
        return weighted_sums(table, indices, weights)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        chunk = chunk_size(gradient.device)
        corners = zip(*(saved.split(chunk) for saved in ctx.saved_tensors), strict=True)
        return spread(ctx.num_rows, gradient, corners), None, None


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


def weighted_sums(
    table: Float[Tensor, "rows channels"],
    indices: Int[Tensor, "samples corners"],
    weights: Float[Tensor, "samples corners"],
) -> Float[Tensor, "samples channels"]:
    """Return the same sums, for a caller that computes the gradient with `spread`."""
    return torch.nn.functional.embedding_bag(indices, table, per_sample_weights=weights, mode="sum")


def chunk_size(device: torch.device) -> int:
    """Return how many samples to look up or to spread at once."""
    return _CUDA_CHUNK if device.type == "cuda" else _CHUNK


def spread(
    num_rows: int, gradient: Float[Tensor, "samples channels"], corners: Iterable[Corners]
) -> Float[Tensor, "rows channels"]:
    """Return the table's gradient: each sample's gradient, weighted, added to its rows.

    `corners` covers all samples in order, chunk by chunk.
    """
    if gradient.is_cuda:
        return spread_as_integers(num_rows, gradient, corners)
    table_gradient = gradient.new_zeros(num_rows, gradient.shape[1])
    for rows, addends in _addends(gradient, corners):
        table_gradient.index_add_(0, rows, addends)
    return table_gradient


def spread_as_integers(
    num_rows: int, gradient: Float[Tensor, "samples channels"], corners: Iterable[Corners]
) -> Float[Tensor, "rows channels"]:
    """Return the same as `spread`, summed in fixed point: the same bytes in any order.

    PyTorch's own deterministic sum would sort the addends first.
    """
    unit = sum_unit(gradient)
    sums = torch.zeros(num_rows, gradient.shape[1], dtype=torch.int64, device=gradient.device)
    with _in_any_order():
        for rows, addends in _addends(gradient, corners):
            sums.index_add_(0, rows, addends.div_(unit.to(addends.dtype)).round_().long())
    return from_sums(sums, unit, gradient.dtype)


def sum_unit(gradient: Float[Tensor, "samples channels"]) -> Float[Tensor, ""]:
    """Return the value of an integer 1 when a gradient's addends are summed as 64-bit integers.

    It is a power of two small enough that no sum overflows: some 2^-34 of the largest
    gradient for 2^28 addends, but no less than 2^-120. Addends below half of it are lost.
    Weights lie in [0, 1]. A gradient that is not finite gives NaN.
    """
    if gradient.numel() == 0:
        return gradient.new_ones((), dtype=torch.float64)
    largest = gradient.abs().amax()
    num_bits = (NUM_CORNERS * len(gradient) - 1).bit_length()
    exponent = torch.frexp(largest).exponent  # |gradient| < 2^exponent
    shift = (_SUM_BITS - num_bits - exponent).clamp(max=_MAX_SHIFT)
    return torch.exp2(-shift.double()).where(largest.isfinite(), torch.nan)


def from_sums(
    sums: Int[Tensor, "rows channels"], unit: Float[Tensor, ""], dtype: torch.dtype
) -> Float[Tensor, "rows channels"]:
    """Return the values that sums of units stand for."""
    return (sums * unit).to(dtype)


def _addends(gradient: Tensor, corners: Iterable[Corners]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield rows and what is added to each, valid until the next pair is requested."""
    done = 0
    memory = gradient.new_empty(0)
    for rows, weights in corners:
        values = gradient[done : done + len(rows)]
        done += len(rows)
        size = rows.numel() * gradient.shape[1]
        if memory.numel() < size:  # once, since no later piece is larger than the first
            memory = gradient.new_empty(size)
        addends = memory[:size].view(*rows.shape, gradient.shape[1])
        torch.mul(values[:, None, :], weights[:, :, None], out=addends)
        yield rows.reshape(-1), addends.flatten(0, 1)


@contextmanager
def _in_any_order() -> Generator[None]:
    """Allow sums in any order inside the block: integer sums are the same in each.

    PyTorch's switch is process-wide: use this for one backward pass at a time.
    """
    enabled = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(enabled, warn_only=warn_only)


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
