"""Features of a multiresolution hash grid (Instant-NGP, arXiv 2201.05989), and their gradient.

A render queries millions of positions, each with eight rows in each of 16 levels. Rows and
weights are never held for all of them: they are computed chunk by chunk, and again in the
backward pass. On CUDA two kernels do all of it if Triton is installed (on Linux it comes with
torch) and the GPU is Volta or newer; otherwise plain torch does.
"""

import functools
import importlib.util
import operator
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from dreamfusion_kit.field.levels import Level
from dreamfusion_kit.field.lookup import Corners, chunk_size, corner_weights, spread, weighted_sums

_PRIMES = (1, 2654435761, 805459861)


def hash_features(
    table: Float[Tensor, "rows features"],
    unit_positions: Float[Tensor, "samples 3"],
    levels: tuple[Level, ...],
) -> Float[Tensor, "samples levels_features"]:
    """Return the features of positions in the unit cube, level by level.

    `table` has the rows of all levels, one after another, and may have more. Positions
    beyond [0, 1] are read at the cube's nearest point. Differentiable with respect to
    `table` alone, once.
    """
    return _HashFeatures.apply(table, unit_positions, levels)


class _HashFeatures(torch.autograd.Function):
    """The autograd function of `hash_features`; it saves only the positions for the backward."""

    @staticmethod
    def forward(  # Any: torch names no type for the context.
        ctx: Any, table: Tensor, unit_positions: Tensor, levels: tuple[Level, ...]
    ) -> Tensor:
        ctx.save_for_backward(unit_positions)
        ctx.levels, ctx.shape = levels, table.shape
        if _has_kernels(table):
            from dreamfusion_kit.field import hash_kernels

            return hash_kernels.features(table, unit_positions, levels)
        parts = [weighted_sums(table, *corners) for corners in _corners(unit_positions, levels)]
        return torch.cat(parts).reshape(len(unit_positions), len(levels) * table.shape[1])

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> tuple[Tensor, None, None]:
        (unit_positions,), (gradient,) = ctx.saved_tensors, gradients
        levels, shape = ctx.levels, ctx.shape
        if _has_kernels(gradient):
            from dreamfusion_kit.field import hash_kernels

            return hash_kernels.gradient(shape, gradient, unit_positions, levels), None, None
        gradient = gradient.reshape(len(unit_positions) * len(levels), shape[1])
        return spread(shape[0], gradient, _corners(unit_positions, levels)), None, None


def _has_kernels(tensor: Tensor) -> bool:
    """Return whether the kernels accept the tensor: float32 on the GPU, as fields use."""
    return tensor.is_cuda and tensor.dtype == torch.float32 and _runs_triton(tensor.device)


@functools.cache
def _runs_triton(device: torch.device) -> bool:
    is_installed = importlib.util.find_spec("triton") is not None
    return is_installed and torch.cuda.get_device_capability(device) >= (7, 0)


def _corners(unit_positions: Tensor, levels: tuple[Level, ...]) -> Iterator[Corners]:
    """Yield rows and weights, each as `samples * levels, 8`, some samples at a time."""
    scales = unit_positions.new_tensor([level.scale for level in levels])
    chunk = chunk_size(unit_positions.device) // max(1, len(levels))
    for part in unit_positions.split(max(1, chunk)):
        positions = part.clamp(0, 1)[:, None, :] * scales[:, None] + 0.5
        lower = positions.floor()
        rows = _corner_rows(levels, lower.long())
        yield rows.flatten(0, 1), corner_weights(positions - lower).flatten(0, 1)


def _corner_rows(
    levels: tuple[Level, ...], cells: Int[Tensor, "samples levels 3"]
) -> Int[Tensor, "samples levels 8"]:
    """Return the rows, in one table of all levels, of the corners of each level's cell.

    `cells` are the lower corners as integer coordinates; corner `4 i + 2 j + k` lies at
    offset (i, j, k). In the outermost half cell of a dense level the upper corner has no
    vertex of its own and takes the row that the formula wraps to, as in tiny-cuda-nn.
    """
    sizes = cells.new_tensor([level.num_rows for level in levels])
    num_dense = sum(level.is_dense for level in levels)  # the coarsest ones
    sides = [level.resolution for level in levels[:num_dense]]
    strides = cells.new_tensor([(1, side, side**2) for side in sides])
    dense = _combined(cells[:, :num_dense], strides.view(-1, 3), operator.add)
    hashed = _combined(cells[:, num_dense:], cells.new_tensor(_PRIMES), operator.xor)
    # Modulo a power of two only the low bits matter, and those of int64 and uint32 agree.
    dense = dense % sizes[:num_dense, None]
    hashed = hashed & (sizes[num_dense:, None] - 1)
    first_rows = sizes.cumsum(dim=0) - sizes
    return torch.cat([dense, hashed], dim=1) + first_rows[:, None]


def _combined(
    cells: Int[Tensor, "samples levels 3"],
    factors: Int[Tensor, "*levels 3"],
    combine: Callable[[Tensor, Tensor], Tensor],
) -> Int[Tensor, "samples levels 8"]:
    """Return `combine` of the three coordinates, each multiplied by its factor, at all corners."""
    lower = cells * factors
    x, y, z = zip(lower.unbind(dim=-1), (lower + factors).unbind(dim=-1), strict=True)
    faces = [combine(x[i], y[j]) for i in (0, 1) for j in (0, 1)]
    return torch.stack([combine(face, z[k]) for face in faces for k in (0, 1)], dim=-1)
