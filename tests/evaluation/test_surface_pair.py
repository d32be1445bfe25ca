"""Two surfaces under an alignment: there and back, distances, and what is the bulk of one."""

import math

import numpy as np
import pytest
import trimesh

from dreamfusion_kit import seeding
from dreamfusion_kit.evaluation.surface_pair import (
    IDENTITY,
    Alignment,
    SurfacePair,
    bounds,
    bulk,
    chamfer,
    normal_angle,
    yaw_matrix,
)

from .solids import as_trimesh, moved, surface_of, wedge

_POINTS = np.random.default_rng(0).normal(size=(20, 3))


def _pair(mesh: trimesh.Trimesh, truth: trimesh.Trimesh) -> SurfacePair:
    generator = seeding.generator(0, "geometry")
    return SurfacePair(surface_of(mesh), surface_of(truth), 500, generator=generator)


def test_an_alignment_turns_left_scales_and_then_shifts() -> None:
    alignment = Alignment(yaw_deg=90.0, scale=2.0, translation=(0.0, 0.0, 5.0))
    moved = alignment.apply(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]))
    np.testing.assert_allclose(moved, [[0.0, 2.0, 5.0], [-2.0, 0.0, 7.0]], atol=1e-12)


def test_undo_is_the_inverse_of_apply() -> None:
    alignment = Alignment(yaw_deg=-37.0, scale=0.7, translation=(0.1, -2.0, 0.3))
    np.testing.assert_allclose(alignment.undo(alignment.apply(_POINTS)), _POINTS, atol=1e-12)


def test_distances_are_in_the_truths_units() -> None:
    """A sphere of radius 1, aligned to half its size, lies 0.1 inside one of radius 0.6."""
    spheres = [trimesh.creation.icosphere(5, radius=radius) for radius in (1.0, 0.6)]
    pair = _pair(*spheres)
    half = Alignment(yaw_deg=0.0, scale=0.5, translation=(0.0, 0.0, 0.0))
    for distances in pair.distances(half):
        np.testing.assert_allclose(distances, 0.1, atol=2e-3)
    assert chamfer(*pair.distances(half)) == pytest.approx(0.1, abs=2e-3)
    assert len(pair.distances(IDENTITY, first=7)[0]) == 7


def test_normals_are_compared_in_the_truths_frame() -> None:
    """The wedge, turned: its normals agree with its own once the turn is undone."""
    pair = _pair(as_trimesh(moved(wedge(), -25.0, 0.8, (0.1, 0.0, 0.2))), as_trimesh(wedge()))
    scale = 1 / 0.8
    shift = -scale * np.array([0.1, 0.0, 0.2]) @ yaw_matrix(25.0).T
    undone = Alignment(25.0, scale, (float(shift[0]), float(shift[1]), float(shift[2])))
    assert chamfer(*pair.distances(undone)) < 1e-5
    assert normal_angle(pair, undone) < 2.0
    assert normal_angle(pair, IDENTITY) > 10.0


def test_a_far_twentieth_of_the_points_moves_no_bulk() -> None:
    near = np.random.default_rng(1).normal(size=(950, 3))
    far = np.full((50, 3), 1000.0)
    found = bulk(np.concatenate([near, far]))
    np.testing.assert_allclose(found.middle, 0.0, atol=0.15)
    assert found.extent == pytest.approx(math.sqrt(3), rel=0.05)


def test_bounds_are_the_lowest_and_the_highest_corner() -> None:
    np.testing.assert_array_equal(
        bounds(np.array([[0.0, 5.0, -1.0], [2.0, -3.0, 4.0]])), [[0.0, -3.0, -1.0], [2.0, 5.0, 4.0]]
    )
