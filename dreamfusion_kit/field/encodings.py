"""Multiresolution hash encoding (Instant-NGP, arXiv 2201.05989), as tiny-cuda-nn indexes it.

Notation, per level l:

    scale        min_resolution * b^l - 1, b = (max_resolution / min_resolution)^(1/(L-1))
    resolution   ceil(scale) + 1 vertices per axis
    position     scale * x + 0.5 for x in [0, 1]^3: the half keeps levels from aligning
    T            entries of a hashed level's table, a power of two

A level whose vertices fit into T is indexed densely, x fastest; any other by
`(x * 1 ^ y * 2654435761 ^ z * 805459861) mod T`. Tables are not larger than their level
needs, rounded up to a multiple of 8.
"""

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, assert_never

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dreamfusion_kit.errors import MissingExtraError
from dreamfusion_kit.field.lookup import corner_weights, weighted_rows
from dreamfusion_kit.recipe.schema import HashGridField

_PRIMES = (1, 2654435761, 805459861)
_INITIAL_BOUND = 1e-4  # entries ~ U(-1e-4, 1e-4), Instant-NGP s. 4


@dataclass(frozen=True)
class Level:
    """One resolution level: its geometry, and how many rows its table has."""

    scale: float
    resolution: int
    num_rows: int
    is_dense: bool


class Encoding(nn.Module, ABC):
    """Features of positions in the unit cube: `num_features` numbers each, level by level."""

    num_features: int

    @abstractmethod
    def forward(
        self, unit_positions: Float[Tensor, "samples 3"], num_levels: int
    ) -> Float[Tensor, "samples features"]:
        """Return features; those of levels beyond the first `num_levels` are 0.

        Positions beyond [0, 1] are read at the cube's nearest point. Differentiable with
        respect to the parameters alone.
        """


class HashEncoding(Encoding):
    """The encoding in plain torch."""

    def __init__(self, section: HashGridField, *, generator: torch.Generator) -> None:
        """Draw the tables of all levels, which lie one after another in one parameter."""
        super().__init__()
        self.levels = build_levels(section)
        self.num_features = section.num_levels * section.features_per_level
        shape = (sum(level.num_rows for level in self.levels), section.features_per_level)
        unit = torch.rand(shape, generator=generator, device=generator.device)
        self.table = nn.Parameter(_INITIAL_BOUND * (2 * unit - 1))

    def forward(
        self, unit_positions: Float[Tensor, "samples 3"], num_levels: int
    ) -> Float[Tensor, "samples features"]:
        """Return features; levels beyond the first `num_levels` cost nothing."""
        levels = self.levels[:num_levels]
        scales = unit_positions.new_tensor([level.scale for level in levels])
        positions = unit_positions.clamp(0, 1)[:, None, :] * scales[:, None] + 0.5
        lower = positions.floor()
        rows = corner_rows(levels, lower.long())
        weights = corner_weights(positions - lower)
        features = weighted_rows(self.table, rows.flatten(0, 1), weights.flatten(0, 1))
        features = features.reshape(len(unit_positions), len(levels) * self.table.shape[1])
        return nn.functional.pad(features, (0, self.num_features - features.shape[1]))


class TinyCudaEncoding(Encoding):
    """The same encoding, computed by tinycudann on a CUDA device in float32."""

    def __init__(self, section: HashGridField, *, generator: torch.Generator) -> None:
        """Draw tables of the same layout and the same distribution."""
        super().__init__()
        self.num_features = section.num_levels * section.features_per_level
        self._features_per_level = section.features_per_level
        configuration = {
            "otype": "HashGrid",
            "n_levels": section.num_levels,
            "n_features_per_level": section.features_per_level,
            "log2_hashmap_size": section.log2_table_size,
            "base_resolution": section.min_resolution,
            "per_level_scale": 2 ** _log2_growth(section),
        }
        tinycudann = _import_tinycudann()
        self.encoding = tinycudann.Encoding(3, configuration, dtype=torch.float32)
        table = self.encoding.params
        unit = torch.rand(table.shape, generator=generator, device=generator.device)
        table.data.copy_(_INITIAL_BOUND * (2 * unit - 1))

    def forward(
        self, unit_positions: Float[Tensor, "samples 3"], num_levels: int
    ) -> Float[Tensor, "samples features"]:
        """Return features; all levels are computed, those out of use set to 0."""
        features = self.encoding(unit_positions.clamp(0, 1))
        kept = num_levels * self._features_per_level
        return nn.functional.pad(features[:, :kept], (0, self.num_features - kept))


def build_encoding(section: HashGridField, *, generator: torch.Generator) -> Encoding:
    """Return the encoding by the backend that the recipe names, never by another."""
    match section.backend:
        case "torch":
            return HashEncoding(section, generator=generator)
        case "tinycudann":
            return TinyCudaEncoding(section, generator=generator)
        case _:
            assert_never(section.backend)


def build_levels(section: HashGridField) -> tuple[Level, ...]:
    """Return the levels, coarsest first."""
    growth = _log2_growth(section)
    table_size = 1 << section.log2_table_size
    scales = [
        section.min_resolution * 2 ** (growth * index) - 1 for index in range(section.num_levels)
    ]
    return tuple(_level(scale, table_size) for scale in scales)


def _log2_growth(section: HashGridField) -> float:
    """Return log2 of the factor b between the resolutions of neighbouring levels."""
    ratio = section.max_resolution / section.min_resolution
    return math.log2(ratio) / max(section.num_levels - 1, 1)


def _level(scale: float, table_size: int) -> Level:
    resolution = math.ceil(scale) + 1
    needed = 8 * math.ceil(resolution**3 / 8)
    return Level(scale, resolution, min(needed, table_size), resolution**3 <= table_size)


def corner_rows(
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
    """Return `combine` of the three coordinates, each times its factor, at all corners."""
    lower = cells * factors
    x, y, z = zip(lower.unbind(dim=-1), (lower + factors).unbind(dim=-1), strict=True)
    faces = [combine(x[i], y[j]) for i in (0, 1) for j in (0, 1)]
    return torch.stack([combine(face, z[k]) for face in faces for k in (0, 1)], dim=-1)


def _import_tinycudann() -> Any:  # Any: the package has no type stubs.
    try:
        import tinycudann  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtraError(
            "field.backend: tinycudann is not installed; set `backend: torch`, or on a machine "
            "with CUDA run `pip install git+https://github.com/NVlabs/tiny-cuda-nn"
            "#subdirectory=bindings/torch`"
        ) from error
    return tinycudann
