"""The cell of a cubic lattice: its parts, and the patches of surface that it can hold.

Corners (i, j, k) are numbered 4i + 2j + k. An edge along an axis is numbered 4 axis + 2u + v, where
u and v are its place on the two next axes in cyclic order; a face 2 axis + side. Bit c of a case
says that corner c is inside.

An edge whose ends differ is crossed once. A face has two crossed edges, none, or four: then its
inside corners are opposite, and the surface meets it in two arcs. Each cuts off an inside corner,
or, on a flipped face, an outside one. A crossed edge is on two faces, so arcs form closed loops.
Each loop bounds a patch, which has one vertex in the dual surface (Nielson 2004, "Dual marching
cubes").
"""

import itertools
from collections.abc import Sequence
from functools import cache

import torch
from jaxtyping import Int
from torch import Tensor

NO_FACE = 6
CORNERS = tuple(itertools.product((0, 1), repeat=3))


def _corner(axis: int, along: int, u: int, v: int) -> int:
    place = {axis: along, (axis + 1) % 3: u, (axis + 2) % 3: v}
    return CORNERS.index((place[0], place[1], place[2]))


EDGES = tuple(
    (_corner(axis, 0, u, v), _corner(axis, 1, u, v))
    for axis, u, v in itertools.product(range(3), (0, 1), (0, 1))
)
"""The two ends of each edge, the lower first."""

FACES = tuple(
    tuple(_corner(axis, side, u, v) for u, v in ((0, 0), (1, 0), (1, 1), (0, 1)))
    for axis, side in itertools.product(range(3), (0, 1))
)
"""The four corners of each face, in a ring."""


@cache
def patch_table() -> Int[Tensor, "256 7 12"]:
    """Return the patch that each edge belongs to, by case and flipped face; -1 if not crossed.

    Index `NO_FACE` flips no face. Patches are numbered from 0.
    """
    return torch.tensor([[_patches(case, face) for face in range(7)] for case in range(256)])


@cache
def pinched_face() -> Int[Tensor, "256"]:
    """Return the face of each case on which both arcs belong to one patch, or `NO_FACE`.

    No case has two. Where both cells beside a face are pinched there, two edges of the dual surface
    would have the same ends, and four quadrilaterals would meet. Flipping the face in both cells
    parts the patches of each (Wenger 2013, "Isosurfaces", s. 5.2).
    """
    return torch.tensor([_pinched(case) for case in range(256)])


def _pinched(case: int) -> int:
    patches = _patches(case, NO_FACE)
    for number, ring in enumerate(FACES):
        found = {patches[edge] for edge in _ring_edges(ring)}
        if len(found) == 1 and found != {-1}:
            return number
    return NO_FACE


def _patches(case: int, flipped: int) -> list[int]:
    """Return the patch of each edge, by joining the edges that share an arc."""
    inside = [bool(case >> corner & 1) for corner in range(8)]
    group = list(range(12))
    for number, ring in enumerate(FACES):
        for first, second in _arcs([inside[c] for c in ring], _ring_edges(ring), number == flipped):
            old, new = group[first], group[second]
            group = [new if member == old else member for member in group]
    crossed = [inside[a] != inside[b] for a, b in EDGES]
    numbers = list(dict.fromkeys(group[edge] for edge in range(12) if crossed[edge]))
    return [numbers.index(group[edge]) if crossed[edge] else -1 for edge in range(12)]


def _arcs(inside: Sequence[bool], edges: Sequence[int], flipped: bool) -> list[tuple[int, int]]:
    """Return the pairs of a face's edges that an arc joins; edge i leads to corner i + 1."""
    crossed = [i for i in range(4) if inside[i] != inside[(i + 1) % 4]]
    if len(crossed) < 4:
        return [(edges[crossed[0]], edges[crossed[1]])] if crossed else []
    return [(edges[i - 1], edges[i]) for i in range(4) if inside[i] != flipped]


def _ring_edges(ring: Sequence[int]) -> list[int]:
    """Return the edges between the corners of a face, in the order of the ring."""
    ends = [{ring[i], ring[(i + 1) % 4]} for i in range(4)]
    return [next(e for e, pair in enumerate(EDGES) if set(pair) == wanted) for wanted in ends]
