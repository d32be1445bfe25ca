"""Geometry measures against solids whose answers are known in closed form."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest
import torch
import trimesh

from dreamfusion_kit.errors import EvaluationError
from dreamfusion_kit.evaluation.geometry import true_surface
from dreamfusion_kit.evaluation.surface import Surface, is_watertight

from .solids import RAW, box_distance, measured, sphere_distance, surface_of, wedge, wedge_distance


def test_true_surface_has_the_area_and_volume_of_the_sphere() -> None:
    surface = true_surface(sphere_distance(0.5), bounding_radius=0.8, resolution=64)
    mesh = trimesh.Trimesh(surface.vertices.numpy(), surface.faces.numpy(), process=False)
    assert mesh.area == pytest.approx(4 * math.pi * 0.25, rel=2e-3)
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.125, rel=2e-3)
    assert is_watertight(surface)


@pytest.mark.parametrize("radius", [-1.0, 1.0])
def test_true_surface_refuses_the_empty_and_the_overflowing(radius: float) -> None:
    with pytest.raises(EvaluationError, match="expected a solid within radius"):
        true_surface(sphere_distance(radius), bounding_radius=0.8, resolution=16)


def test_equal_shapes_measure_as_equal() -> None:
    metrics = measured(surface_of(trimesh.creation.icosphere(5, radius=0.5)), sphere_distance(0.5))
    assert metrics.iou_raw > 0.98
    assert metrics.iou > 0.98
    assert metrics.chamfer_raw < 2e-3
    assert metrics.chamfer < 2e-3
    assert metrics.f_score == metrics.f_score_raw == 1.0
    assert metrics.watertight


def test_concentric_spheres_are_apart_by_the_difference_of_radii() -> None:
    sphere = surface_of(trimesh.creation.icosphere(5, radius=0.6))
    metrics = measured(sphere, sphere_distance(0.5), RAW)
    assert metrics.chamfer_raw == pytest.approx(0.1, abs=2e-3)
    assert metrics.iou_raw == pytest.approx((0.5 / 0.6) ** 3, abs=0.01)
    assert metrics.f_score_raw == 0.0
    wide = RAW.model_copy(update={"f_score_distance": 0.11})
    assert measured(sphere, sphere_distance(0.5), wide).f_score_raw == 1.0


def test_normals_of_equal_shapes_agree_and_bumps_show_in_them() -> None:
    """Faces of a ridge of slope 1 are turned by 45 degrees, whatever its height."""
    smooth = measured(surface_of(trimesh.creation.icosphere(5, radius=0.5)), sphere_distance(0.5))
    assert smooth.normal_angle < 3.0
    slab = trimesh.creation.box(extents=(1.0, 1.0, 0.4)).subdivide_to_size(0.021)
    vertices = np.array(slab.vertices)
    top = vertices[:, 2] > 0.199
    ridges = np.abs((vertices[:, 0] / 0.04) % 1 - 0.5) * 0.04
    vertices[:, 2] += np.where(top, ridges, 0.0)
    bumpy = surface_of(trimesh.Trimesh(vertices, slab.faces, process=False))
    metrics = measured(bumpy, box_distance((0, 0, 0), (1.0, 1.0, 0.4)), RAW)
    area, rest = 1.0, 1.0 + 4 * 0.4
    # Of the drawn points, those on the ridges and those below them; the true surface is
    # that of a lattice, whose edges are rounded.
    on_mesh, on_truth = area * 2**0.5 / (area * 2**0.5 + rest), area / (area + rest)
    assert metrics.normal_angle == pytest.approx(45 * (on_mesh + on_truth) / 2, abs=4.0)
    assert metrics.chamfer < 0.02


def test_sphere_in_a_cube_fills_pi_over_six() -> None:
    cube = surface_of(trimesh.creation.box(extents=(1.0, 1.0, 1.0)))
    metrics = measured(cube, sphere_distance(0.5), RAW)
    assert metrics.iou_raw == pytest.approx(math.pi / 6, abs=0.01)


def test_f_score_weighs_precision_and_recall() -> None:
    # The mesh is half of the truth, two far cubes: every mesh point is met (precision 1),
    # and half of the true points are (recall 1/2), so that F = 2/3.
    centers = ((0.0, -0.45, 0.0), (0.0, 0.45, 0.0))
    parts = [box_distance(center, (0.3, 0.3, 0.3)) for center in centers]
    cube = trimesh.creation.box(extents=(0.3, 0.3, 0.3))
    cube.apply_translation(centers[0])
    metrics = measured(
        surface_of(cube), lambda points: torch.minimum(parts[0](points), parts[1](points)), RAW
    )
    assert metrics.f_score_raw == pytest.approx(2 / 3, abs=0.02)
    assert metrics.iou_raw == pytest.approx(0.5, abs=0.03)


def test_a_mesh_with_a_hole_is_measured_and_marked() -> None:
    sphere = surface_of(trimesh.creation.icosphere(4, radius=0.5))
    metrics = measured(Surface(sphere.vertices, sphere.faces[1:]), sphere_distance(0.5), RAW)
    assert not metrics.watertight
    assert metrics.chamfer_raw < 5e-3
    assert metrics.iou_raw > 0.9


def test_measures_repeat() -> None:
    assert measured(wedge(), wedge_distance) == measured(wedge(), wedge_distance)


def test_no_global_generator_is_drawn_from(
    no_global_draws: Callable[[], AbstractContextManager[None]],
) -> None:
    with no_global_draws():
        measured(wedge(), wedge_distance)
