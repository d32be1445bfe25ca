"""The tables against the geometry that they stand for: loops that are walked, not joined."""

import itertools
from collections import Counter

import pytest

from dreamfusion_kit.shape.cells import CORNERS, EDGES, FACES, NO_FACE, patch_table, pinched_face


def _inside(case: int) -> list[bool]:
    return [bool(case >> corner & 1) for corner in range(8)]


def _neighbours(case: int, edge: int, flipped: int) -> list[int]:
    """Return the edges that the arcs from a crossed edge lead to, one on each of its two faces."""
    inside, found = _inside(case), list[int]()
    for number, face in enumerate(FACES):
        if not set(EDGES[edge]) <= set(face):
            continue
        others = [
            e
            for e, ends in enumerate(EDGES)
            if set(ends) <= set(face) and e != edge and inside[ends[0]] != inside[ends[1]]
        ]
        if len(others) > 1:  # the arc goes around the end that is inside, or outside if flipped
            kept = next(c for c in EDGES[edge] if inside[c] != (number == flipped))
            others = [e for e in others if kept in EDGES[e]]
        found += others
    return found


def test_edges_and_faces_are_those_of_a_cube() -> None:
    for a, b in EDGES:
        assert sum(abs(x - y) for x, y in zip(CORNERS[a], CORNERS[b], strict=True)) == 1
        assert CORNERS[a] < CORNERS[b]
    assert len(set(EDGES)) == 12
    for number, face in enumerate(FACES):
        assert {CORNERS[corner][number // 2] for corner in face} == {number % 2}
        ring = zip(face, face[1:] + face[:1], strict=True)
        assert all(tuple(sorted(pair)) in EDGES for pair in ring)


@pytest.mark.parametrize("flipped", range(7))
def test_patches_are_the_loops_of_arcs(flipped: int) -> None:
    table = patch_table()
    for case in range(256):
        patches = table[case, flipped].tolist()
        inside = _inside(case)
        crossed = [e for e, (a, b) in enumerate(EDGES) if inside[a] != inside[b]]
        assert [e for e in range(12) if patches[e] >= 0] == crossed
        loops = set[frozenset[int]]()
        for edge in crossed:
            loop, frontier = {edge}, [edge]
            while frontier:
                for other in _neighbours(case, frontier.pop(), flipped):
                    if other not in loop:
                        loop.add(other)
                        frontier.append(other)
            loops.add(frozenset(loop))
        named = {
            frozenset(e for e in crossed if patches[e] == number)
            for number in range(max(patches) + 1)
        }
        assert named == loops


def test_numbers_of_patches_are_those_of_marching_cubes() -> None:
    """Lorensen and Cline (1987), with inside corners cut off on ambiguous faces."""
    table = patch_table()
    counts = Counter(max(table[case, NO_FACE].tolist()) + 1 for case in range(256))
    assert counts == {0: 2, 1: 162, 2: 82, 3: 8, 4: 2}
    checkerboard = sum(1 << n for n, corner in enumerate(CORNERS) if sum(corner) % 2 == 0)
    assert max(table[checkerboard, NO_FACE].tolist()) == 3


def test_flipping_a_pinched_face_parts_its_patch_and_pinches_no_other() -> None:
    table, pinched = patch_table(), pinched_face().tolist()
    assert sum(face != NO_FACE for face in pinched) == 36
    for case, face in enumerate(pinched):
        for number, flipped in itertools.product(range(6), {NO_FACE, face}):
            patches = table[case, flipped].tolist()
            edges = [e for e, ends in enumerate(EDGES) if set(ends) <= set(FACES[number])]
            crossed = [patches[e] for e in edges if patches[e] >= 0]
            one = len(crossed) == 4 and len(set(crossed)) == 1
            assert one == (flipped == NO_FACE and number == face)
