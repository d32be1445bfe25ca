"""The hash grid's features and their gradient as two Triton kernels, for CUDA in float32.

They compute what `hash_features` does in plain torch, corner by corner in the same order, but
store neither rows nor weights: only positions, table rows and features move through GPU memory.
Each program handles one level and a block of samples. All programs of a level run one after
another, so that its table stays in the cache. The gradient is summed in 64-bit fixed point:
two runs give the same bytes, although atomic additions have no fixed order.
"""

# Functions that Triton compiles have no Python types.
# pyright: basic, reportGeneralTypeIssues=false

import functools
import itertools
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.errors import MissingExtraError
from dreamfusion_kit.field.levels import Level
from dreamfusion_kit.field.lookup import from_sums, sum_unit

_BLOCK = 256  # samples per program


def features(
    table: Float[Tensor, "rows features"],
    unit_positions: Float[Tensor, "samples 3"],
    levels: tuple[Level, ...],
) -> Float[Tensor, "samples levels_features"]:
    """Return the features, level by level."""
    num_samples, num_features = len(unit_positions), table.shape[1]
    found = table.new_empty(num_samples, len(levels) * num_features)
    arguments = (table.contiguous(), found)
    _launch(_features_kernel, arguments, unit_positions, levels, num_features)
    return found


def gradient(
    table_shape: tuple[int, ...],
    feature_gradient: Float[Tensor, "samples levels_features"],
    unit_positions: Float[Tensor, "samples 3"],
    levels: tuple[Level, ...],
) -> Float[Tensor, "rows features"]:
    """Return the table's gradient; rows of levels that are not enabled get 0."""
    num_features = table_shape[1]
    unit = sum_unit(feature_gradient.reshape(len(unit_positions) * len(levels), num_features))
    sums = torch.zeros(table_shape, dtype=torch.int64, device=unit.device)
    arguments = (feature_gradient.contiguous(), sums, unit.reciprocal().float())
    _launch(_gradient_kernel, arguments, unit_positions, levels, num_features)
    return from_sums(sums, unit, feature_gradient.dtype)


def _launch(
    kernel: Any,  # a compiled function, or in tests an interpreted one
    arguments: tuple[Tensor, ...],
    unit_positions: Tensor,
    levels: tuple[Level, ...],
    num_features: int,
) -> None:
    num_samples = len(unit_positions)
    if num_samples == 0 or not levels:
        return
    scales, shapes = _level_tensors(levels, unit_positions.device)
    grid = (triton.cdiv(num_samples, _BLOCK), len(levels))
    # Triton launches on the current device, not on that of its arguments.
    with torch.cuda.device_of(unit_positions), _needs_named():
        kernel[grid](
            *arguments,
            unit_positions.contiguous(),
            scales,
            shapes,
            num_samples,
            len(levels),
            num_features=num_features,
            width=triton.next_power_of_2(num_features),
            block=_BLOCK,
            # A fused multiply-add would round positions differently from torch.
            enable_fp_fusion=False,
        )


@contextmanager
def _needs_named() -> Generator[None]:
    """Say what to install if Triton cannot build its C launcher at the first launch."""
    try:
        yield
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        if isinstance(error, RuntimeError) and "C compiler" not in str(error):
            raise
        raise MissingExtraError(
            f"the hash grid's kernels: Triton could not build its launcher ({error}); it needs a "
            "C compiler (gcc, or the one named in CC) and Python's headers (python3-dev)"
        ) from error


@functools.cache
def _level_tensors(levels: tuple[Level, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return each level's scale; and its first row, number of rows and side, 0 where hashed.

    Cached, because a transfer to a GPU waits for all of its pending work.
    """
    sizes = [level.num_rows for level in levels]
    first_rows = itertools.accumulate(sizes[:-1], initial=0)
    sides = [level.resolution if level.is_dense else 0 for level in levels]
    shapes = list(zip(first_rows, sizes, sides, strict=True))
    scales = torch.tensor([level.scale for level in levels], device=device)
    return scales, torch.tensor(shapes, device=device)


@triton.jit
def _features_kernel(
    table,
    found,
    unit_positions,
    scales,
    shapes,
    num_samples,
    num_levels,  # not a constant, so that enabling a level does not recompile
    num_features: tl.constexpr,
    width: tl.constexpr,
    block: tl.constexpr,
):
    samples = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    level = tl.program_id(1)
    is_sample = samples < num_samples
    x, y, z = _positions(unit_positions, samples, is_sample, tl.load(scales + level))
    columns = tl.arange(0, width)
    is_asked = is_sample[:, None] & (columns < num_features)[None, :]
    total = tl.zeros((block, width), tl.float32)
    for corner in tl.static_range(8):
        rows, weights = _corner(x, y, z, shapes + 3 * level, corner)
        places = rows[:, None] * num_features + columns[None, :]
        total += weights[:, None] * tl.load(table + places, mask=is_asked, other=0.0)
    places = (samples[:, None] * num_levels + level) * num_features + columns[None, :]
    tl.store(found + places, total, mask=is_asked)


@triton.jit
def _gradient_kernel(
    feature_gradient,
    sums,
    units_in_one,
    unit_positions,
    scales,
    shapes,
    num_samples,
    num_levels,  # not a constant, so that enabling a level does not recompile
    num_features: tl.constexpr,
    width: tl.constexpr,
    block: tl.constexpr,
):
    samples = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    level = tl.program_id(1)
    is_sample = samples < num_samples
    x, y, z = _positions(unit_positions, samples, is_sample, tl.load(scales + level))
    columns = tl.arange(0, width)
    is_asked = is_sample[:, None] & (columns < num_features)[None, :]
    places = (samples[:, None] * num_levels + level) * num_features + columns[None, :]
    values = tl.load(feature_gradient + places, mask=is_asked, other=0.0)
    scale = tl.load(units_in_one)  # a power of two: products with it are exact
    for corner in tl.static_range(8):
        rows, weights = _corner(x, y, z, shapes + 3 * level, corner)
        addends = tl.floor(values * weights[:, None] * scale + 0.5).to(tl.int64)
        places = rows[:, None] * num_features + columns[None, :]
        tl.atomic_add(sums + places, addends, mask=is_asked, sem="relaxed")


@triton.jit
def _positions(unit_positions, samples, is_sample, scale):
    """Return the coordinates on a level; their floors are the lower corner."""
    x = tl.load(unit_positions + 3 * samples, mask=is_sample, other=0.0)
    y = tl.load(unit_positions + 3 * samples + 1, mask=is_sample, other=0.0)
    z = tl.load(unit_positions + 3 * samples + 2, mask=is_sample, other=0.0)
    x = tl.minimum(tl.maximum(x, 0.0), 1.0) * scale + 0.5
    y = tl.minimum(tl.maximum(y, 0.0), 1.0) * scale + 0.5
    z = tl.minimum(tl.maximum(z, 0.0), 1.0) * scale + 0.5
    return x, y, z


@triton.jit
def _corner(x, y, z, shape, corner: tl.constexpr):
    """Return rows and weights of corner `4 i + 2 j + k`, which lies at offset (i, j, k)."""
    row_x, weight_x = _side(x, corner // 4)
    row_y, weight_y = _side(y, corner // 2 % 2)
    row_z, weight_z = _side(z, corner % 2)
    first_row, num_rows = tl.load(shape), tl.load(shape + 1).to(tl.uint32)
    resolution = tl.load(shape + 2).to(tl.uint32)
    if resolution > 0:
        row = row_x + row_y * resolution + row_z * (resolution * resolution)
    else:
        row = row_x ^ (row_y * 2654435761) ^ (row_z * 805459861)
    return first_row + (row % num_rows).to(tl.int64), weight_x * weight_y * weight_z


@triton.jit
def _side(position, upper: tl.constexpr):
    """Return the lower or upper vertex beside a coordinate, and its weight."""
    lower = tl.floor(position)
    fraction = position - lower
    if upper == 1:
        return lower.to(tl.uint32) + 1, fraction
    return lower.to(tl.uint32), 1 - fraction
