"""Dual marching cubes with the freedom of FlexiCubes: from numbers at a lattice to triangles.

FlexiCubes (Shen et al. 2023, arXiv 2308.05371), s. 4. Notation, per cell of the lattice:

    s_i, x_i    signed distance and position of corner i
    alpha_i     weight of corner i, > 0:  u_e = (s_i a_i x_j - s_j a_j x_i) / (s_i a_i - s_j a_j)
    beta_e      weight of edge e, > 0:    v = sum_e beta_e u_e / sum_e beta_e, over one patch
    gamma       weight of the cell, > 0:  splits quadrilaterals, see `_split`

Each patch of a cell (see `cells`) has a vertex v, inside the cell by construction. Each crossed
edge of the lattice has a quadrilateral, whose corners are vertices of the four cells around it.
With all weights 1 this is plain dual marching cubes.

The surface is closed, and a manifold, wherever no outermost point is inside. Each of its edges is
an arc on a face between two cells and belongs to one patch of either; and two arcs never join
the same two patches, since faces that are pinched on both sides are flipped.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from dreamfusion_kit.records import Surface
from dreamfusion_kit.shape.cells import CORNERS, EDGES, NO_FACE, patch_table, pinched_face


@dataclass(frozen=True)
class CellWeights:
    """The weights of each cell of a lattice, positive; see the module."""

    alpha: Float[Tensor, "cells 8"]
    beta: Float[Tensor, "cells 12"]
    gamma: Float[Tensor, " cells"]


@dataclass(frozen=True)
class DualSurface:
    """A surface, and how unevenly its vertices lie among their crossings.

    `deviation` is the mean over the dual vertices of the mean absolute deviation of their distances
    from their crossings (L_dev, eq. 8), scene units.
    """

    surface: Surface
    deviation: Float[Tensor, ""]


def dual_marching_cubes(
    distances: Float[Tensor, "x y z"],
    positions: Float[Tensor, "x y z 3"],
    weights: CellWeights | None = None,
) -> DualSurface:
    """Return the zero level of signed distances, which are negative inside.

    Faces turn counter-clockwise seen from outside; every vertex occurs once. Differentiable in
    distances, positions and weights; which cells hold which patches is not. Without a sign change
    the surface has no faces.

    Args:
        distances: At the points of a lattice.
        positions: Of these points; they may differ from a regular lattice by half a cell.
        weights: Of the cells in the order of their lowest corners; None for 1.
    """
    crossings = _crossings(distances.detach() < 0)
    points = _crossing_points(crossings, distances.reshape(-1), positions.reshape(-1, 3), weights)
    vertices = _dual_vertices(crossings, points, weights)
    faces, middles = _split(crossings, vertices, weights)
    surface = Surface(torch.cat([vertices, middles]), faces)
    return DualSurface(surface, _deviation(crossings, points, vertices))


@dataclass(frozen=True)
class _Crossings:
    """The crossed edges of all cells, a row each; an edge of the lattice is in up to four rows."""

    cell: Int[Tensor, " rows"]  # among all cells of the lattice
    edge: Int[Tensor, " rows"]  # of the cell
    ends: Int[Tensor, "rows 2"]  # points of the lattice, the lower first
    lower_inside: Bool[Tensor, " rows"]
    vertex: Int[Tensor, " rows"]  # the patch that it belongs to, numbered over all cells
    num_vertices: int


def _crossings(inside: Bool[Tensor, "x y z"]) -> _Crossings:
    nx, ny, nz = inside.shape
    device = inside.device
    # A byte per cell: most cells of a lattice hold no surface.
    case = torch.zeros((nx - 1, ny - 1, nz - 1), dtype=torch.uint8, device=device)
    for corner, (i, j, k) in enumerate(CORNERS):
        case |= inside[i : nx - 1 + i, j : ny - 1 + j, k : nz - 1 + k].byte() << corner
    x, y, z = torch.nonzero((case > 0) & (case < 255), as_tuple=True)
    cases = case[x, y, z].long()
    pinched = torch.full_like(case, NO_FACE)
    pinched[x, y, z] = pinched_face().to(device)[cases].byte()
    flipped = _flipped(pinched)[x, y, z].long()
    patch = patch_table().to(device)[cases, flipped]  # cells with a surface, 12 edges
    row, edge = torch.nonzero(patch >= 0, as_tuple=True)
    cell = ((x * (ny - 1) + y) * (nz - 1) + z)[row]
    offsets = torch.tensor([(i * ny + j) * nz + k for i, j, k in CORNERS], device=device)
    ends = ((x * ny + y) * nz + z)[row, None] + offsets[torch.tensor(EDGES, device=device)[edge]]
    names, vertex = torch.unique(4 * cell + patch[row, edge], return_inverse=True)
    return _Crossings(
        cell=cell,
        edge=edge,
        ends=ends,
        lower_inside=inside.reshape(-1)[ends[:, 0]],
        vertex=vertex,
        num_vertices=len(names),
    )


def _flipped(pinched: UInt8[Tensor, "x y z"]) -> UInt8[Tensor, "x y z"]:
    """Return the face of each cell on which it and its neighbour are pinched, or `NO_FACE`."""
    flipped = torch.full_like(pinched, NO_FACE)
    for axis in range(3):
        count = pinched.shape[axis] - 1
        low, high = pinched.narrow(axis, 0, count), pinched.narrow(axis, 1, count)
        both = (low == 2 * axis + 1) & (high == 2 * axis)
        flipped.narrow(axis, 0, count)[both] = 2 * axis + 1
        flipped.narrow(axis, 1, count)[both] = 2 * axis
    return flipped


def _crossing_points(
    crossings: _Crossings,
    distances: Float[Tensor, " points"],
    positions: Float[Tensor, "points 3"],
    weights: CellWeights | None,
) -> Float[Tensor, "rows 3"]:
    """Return u_e, as the cell of each row sees it."""
    values = distances[crossings.ends]
    if weights is not None:
        corners = torch.tensor(EDGES, device=values.device)[crossings.edge]
        values = values * weights.alpha[crossings.cell[:, None], corners]
    first, second = values.unbind(dim=1)
    lower, upper = positions[crossings.ends].unbind(dim=1)
    return (first[:, None] * upper - second[:, None] * lower) / (first - second)[:, None]


def _dual_vertices(
    crossings: _Crossings, points: Float[Tensor, "rows 3"], weights: CellWeights | None
) -> Float[Tensor, "vertices 3"]:
    share = torch.ones_like(points[:, :1])
    if weights is not None:
        share = weights.beta[crossings.cell, crossings.edge][:, None]
    sums = _summed(crossings, torch.cat([share * points, share], dim=1))
    return sums[:, :3] / sums[:, 3:]


def _summed(
    crossings: _Crossings, rows: Float[Tensor, "rows channels"]
) -> Float[Tensor, "vertices channels"]:
    sums = rows.new_zeros(crossings.num_vertices, rows.shape[1])
    return sums.index_add(0, crossings.vertex, rows)


def _split(
    crossings: _Crossings, vertices: Float[Tensor, "vertices 3"], weights: CellWeights | None
) -> tuple[Int[Tensor, "faces 3"], Float[Tensor, "quads 3"]]:
    """Return four triangles for each quadrilateral, and the vertices in their middles.

    A middle lies between those of the two diagonals, each weighted by the product of the gammas
    at its ends, so that the quadrilateral can fold along either (s. 4.2).
    """
    rows = _quadrilaterals(crossings)
    corners = crossings.vertex[rows]
    a, b, c, d = vertices[corners].unbind(dim=1)
    first, second = (a + c) / 2, (b + d) / 2
    if weights is None:
        middles = (first + second) / 2
    else:
        gamma = weights.gamma[crossings.cell[rows]]
        one, two = gamma[:, 0] * gamma[:, 2], gamma[:, 1] * gamma[:, 3]
        middles = first + (two / (one + two))[:, None] * (second - first)
    number = crossings.num_vertices + torch.arange(len(rows), device=rows.device)
    number = number[:, None].expand(-1, 4)
    faces = torch.stack([corners, corners.roll(-1, dims=1), number], dim=-1)
    return faces.reshape(-1, 3), middles


_ROUND = (2, 1, 3, 0)
"""The place of a cell among the four around an edge, by the edge's 2u + v in the cell.

Counter-clockwise about the edge's axis, from the cell with the lowest u and v.
"""


def _quadrilaterals(crossings: _Crossings) -> Int[Tensor, "quads 4"]:
    """Return the rows of the four cells around each crossed edge, counter-clockwise from outside.

    Edges at the border of the lattice, which have fewer cells, are left out.
    """
    axis = torch.div(crossings.edge, 4, rounding_mode="floor")
    place = torch.tensor(_ROUND, device=axis.device)[crossings.edge % 4]
    name, order = (12 * crossings.ends[:, 0] + 4 * axis + place).sort()
    edge = torch.div(name, 4, rounding_mode="floor")
    _, count = torch.unique_consecutive(edge, return_counts=True)
    whole = torch.repeat_interleave(count == 4, count)
    quads = order[whole].reshape(-1, 4)
    turned = ~crossings.lower_inside[quads[:, :1]]
    return torch.where(turned, quads.flip(1), quads)


def _deviation(
    crossings: _Crossings, points: Float[Tensor, "rows 3"], vertices: Float[Tensor, "vertices 3"]
) -> Float[Tensor, ""]:
    """Return L_dev, the mean over vertices."""
    if crossings.num_vertices == 0:
        return points.sum() * 0
    apart = (points - vertices[crossings.vertex]).norm(dim=1, keepdim=True)
    ones = torch.ones_like(apart)
    sums = _summed(crossings, torch.cat([apart, ones], dim=1))
    mean = sums[:, :1] / sums[:, 1:]
    spread = _summed(crossings, (apart - mean[crossings.vertex]).abs())
    return (spread / sums[:, 1:]).mean()
