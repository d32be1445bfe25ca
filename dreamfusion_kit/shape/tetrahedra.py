"""Marching tetrahedra on a lattice: from signed distances to triangles, with gradients.

DMTet (Shen et al. 2021, arXiv 2111.04276) without its subdivision: each cell of a cubic lattice is
six tetrahedra around its diagonal (Freudenthal), the same six in every cell, so that neighbours
agree on their common faces. A tetrahedron whose corners differ in sign holds one or two
triangles, whose corners lie on its edges where the signed distance, linear between a and b, is 0:

    x = (x_a s_b - x_b s_a) / (s_b - s_a)

Which tetrahedra those are is not differentiable; where the corners lie is, in s and x.
The surface is closed wherever no outermost point is inside.
"""

import itertools
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dreamfusion_kit.records import Surface

_CORNERS = tuple(itertools.product((0, 1), repeat=3))
_EDGES = tuple(itertools.combinations(range(4), 2))  # of a tetrahedron, by its corners


def marching_tetrahedra(
    distances: Float[Tensor, "x y z"], positions: Float[Tensor, "x y z 3"]
) -> Surface:
    """Return the zero level of signed distances, which are negative inside.

    Faces turn counter-clockwise seen from outside; every vertex occurs once. `positions` may
    differ from a regular lattice by less than half a cell. Without a sign change the surface has
    no faces.
    """
    tetrahedra = _crossed(distances.detach() < 0)
    values = distances.reshape(-1)
    inside = values.detach()[tetrahedra] < 0
    case = (inside.long() << torch.arange(4, device=inside.device)).sum(dim=-1)
    table = _table().to(case.device)
    triangles = table[case]  # tetrahedra, two triangles, three corners: an edge, or -1
    exists = triangles[..., 0] >= 0
    owner = torch.nonzero(exists)[:, 0]
    ends = tetrahedra[owner[:, None, None], _edge_ends(case.device)[triangles[exists]]]
    # An edge is named by its two lattice points in order, the same from every tetrahedron.
    ends = ends.sort(dim=-1).values
    names = ends[..., 0] * values.numel() + ends[..., 1]
    unique, faces = torch.unique(names, return_inverse=True)
    first = torch.div(unique, values.numel(), rounding_mode="floor")
    second = unique % values.numel()
    s_a, s_b = values[first][:, None], values[second][:, None]
    places = positions.reshape(-1, 3)
    vertices = (places[first] * s_b - places[second] * s_a) / (s_b - s_a)
    return Surface(vertices, faces)


def _crossed(inside: Bool[Tensor, "x y z"]) -> Int[Tensor, "tetrahedra 4"]:
    """Return the flat indices of the corners of all tetrahedra of cells with both signs."""
    nx, ny, nz = inside.shape
    parts = [inside[i : nx - 1 + i, j : ny - 1 + j, k : nz - 1 + k] for i, j, k in _CORNERS]
    count = torch.stack([part.byte() for part in parts]).sum(dim=0)
    x, y, z = torch.nonzero((count > 0) & (count < 8), as_tuple=True)
    offsets = torch.tensor([(i * ny + j) * nz + k for i, j, k in _CORNERS], device=x.device)
    corners = ((x * ny + y) * nz + z)[:, None] + offsets
    return corners[:, _cell(x.device)].reshape(-1, 4)


def _cell(device: torch.device) -> Int[Tensor, "6 4"]:
    """Return the six tetrahedra of a cell as corners, each of positive orientation.

    One per order of the axes: from corner 000 along one axis, then another, then the third.
    """
    rows: list[list[int]] = []
    for axes in itertools.permutations(range(3)):
        corner, row = [0, 0, 0], [0]
        for axis in axes:
            corner[axis] = 1
            row.append(_CORNERS.index((corner[0], corner[1], corner[2])))
        if _parity(axes):
            row[2], row[3] = row[3], row[2]
        rows.append(row)
    return torch.tensor(rows, device=device)


def _parity(axes: tuple[int, ...]) -> bool:
    """Return whether a permutation is odd."""
    return sum(a > b for a, b in itertools.combinations(axes, 2)) % 2 == 1


@cache
def _edge_list() -> Int[Tensor, "6 2"]:
    return torch.tensor(_EDGES)


def _edge_ends(device: torch.device) -> Int[Tensor, "6 2"]:
    return _edge_list().to(device)


@dataclass(frozen=True)
class _Reference:
    """A tetrahedron of positive orientation: det(b - a, c - a, d - a) > 0."""

    corners: Float[Tensor, "4 3"]

    def middle(self, edge: int) -> Float[Tensor, " 3"]:
        first, second = _EDGES[edge]
        return (self.corners[first] + self.corners[second]) / 2


@cache
def _table() -> Int[Tensor, "16 2 3"]:
    """Return the triangles of every case, as edges; bit i of a case: corner i is inside.

    A lone corner is cut off by a triangle on its three edges, a pair by a quadrilateral on the
    four edges that lead across; both are turned so that their normals point away from what is
    inside, as seen on a reference tetrahedron.
    """
    reference = _Reference(torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]))
    table = torch.full((16, 2, 3), -1)
    for case in range(1, 15):
        inside = [corner for corner in range(4) if case >> corner & 1]
        crossing = [
            number for number, (a, b) in enumerate(_EDGES) if (a in inside) != (b in inside)
        ]
        for index, triangle in enumerate(_triangles(crossing)):
            table[case, index] = torch.tensor(_outward(triangle, inside, reference))
    return table


def _triangles(crossing: list[int]) -> list[list[int]]:
    if len(crossing) == 3:
        return [crossing]
    # Of four edges two are opposite, without a common corner: the quadrilateral's diagonal.
    first = crossing[0]
    opposite = next(edge for edge in crossing if not set(_EDGES[first]) & set(_EDGES[edge]))
    others = [edge for edge in crossing if edge not in (first, opposite)]
    return [[first, opposite, other] for other in others]


def _outward(triangle: list[int], inside: list[int], reference: _Reference) -> list[int]:
    a, b, c = (reference.middle(edge) for edge in triangle)
    normal = torch.linalg.cross(b - a, c - a)
    away = (a + b + c) / 3 - reference.corners[inside].mean(dim=0)
    return triangle if float(normal @ away) > 0 else triangle[::-1]
