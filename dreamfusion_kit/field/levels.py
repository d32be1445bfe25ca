"""The levels of a multiresolution hash grid (Instant-NGP, arXiv 2201.05989).

Notation, per level l:

    scale        min_resolution * b^l - 1, b = (max_resolution / min_resolution)^(1/(L-1))
    resolution   ceil(scale) + 1 vertices per axis
    position     scale * x + 0.5 for x in [0, 1]^3: the half keeps levels from aligning
    T            entries of a hashed level's table, a power of two

As in tiny-cuda-nn, a level whose vertices fit into T is indexed densely, x fastest; any other by
`(x * 1 ^ y * 2654435761 ^ z * 805459861) mod T`. A table is no larger than its level
needs, rounded up to a multiple of 8.
"""

import math
from dataclasses import dataclass

from dreamfusion_kit.recipe.schema import HashGridSection, HashGridTextureSection

HashSection = HashGridSection | HashGridTextureSection  # a field, or a surface's texture


@dataclass(frozen=True)
class Level:
    """One resolution level: its geometry, and how many rows its table has."""

    scale: float
    resolution: int
    num_rows: int
    is_dense: bool


def build_levels(section: HashSection) -> tuple[Level, ...]:
    """Return the levels, coarsest first."""
    growth = log2_growth(section)
    table_size = 1 << section.log2_table_size
    scales = [
        section.min_resolution * 2 ** (growth * index) - 1 for index in range(section.num_levels)
    ]
    return tuple(_level(scale, table_size) for scale in scales)


def log2_growth(section: HashSection) -> float:
    """Return log2 of the factor b between the resolutions of neighbouring levels."""
    ratio = section.max_resolution / section.min_resolution
    return math.log2(ratio) / max(section.num_levels - 1, 1)


def _level(scale: float, table_size: int) -> Level:
    resolution = math.ceil(scale) + 1
    needed = 8 * math.ceil(resolution**3 / 8)
    return Level(scale, resolution, min(needed, table_size), resolution**3 <= table_size)
