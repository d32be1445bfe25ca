"""Geometry measures against solids whose answers are known in closed form."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager

import numpy as np
import pytest
import torch
import trimesh
from torch import Tensor

from dreamfusion_kit import seeding
from dreamfusion_kit.errors import EvaluationError
from dreamfusion_kit.evaluation.geometry import (
    GeometryMetrics,
    measure_geometry,
    true_surface,
)
from dreamfusion_kit.evaluation.surface import Surface, is_watertight
from dreamfusion_kit.recipe.evaluation import GeometrySection

_PROTOCOL = GeometrySection(
    num_points=1000,
    f_score_distance=0.05,
    surface_resolution=48,
    iou_resolution=36,
    num_azimuths=12,
    scale_range=(0.8, 1.25),
    num_scales=3,
    num_search_points=200,
)
# No search, for tests of the measures on the unaligned mesh.
_RAW = _PROTOCOL.model_copy(
    update={"num_azimuths": 1, "scale_range": (1.0, 1.0), "num_scales": 1, "num_search_points": 50}
)
# A wedge of two boxes: no rotation about z maps it to itself.
_PARTS = (((0.0, 0.0, 0.0), (0.9, 0.4, 0.3)), ((0.3, 0.25, 0.2), (0.3, 0.3, 0.5)))


def _sphere_distance(radius: float) -> Callable[[Tensor], Tensor]:
    return lambda points: points.norm(dim=-1) - radius


def _box_distance(center: tuple[float, ...], extents: tuple[float, ...]) -> Callable:
    def distance(points: Tensor) -> Tensor:
        offset = (points - torch.tensor(center)).abs() - torch.tensor(extents) / 2
        return offset.clamp_min(0).norm(dim=-1) + offset.amax(dim=-1).clamp_max(0)

    return distance


def _wedge_distance(points: Tensor) -> Tensor:
    return torch.stack([_box_distance(*part)(points) for part in _PARTS]).amin(dim=0)


def _surface(mesh: trimesh.Trimesh) -> Surface:
    vertices = torch.from_numpy(np.array(mesh.vertices)).float()
    return Surface(vertices, torch.from_numpy(np.array(mesh.faces)).long())


def _wedge() -> Surface:
    """The wedge as a mesh of its own, by marching cubes at another resolution."""
    return true_surface(_wedge_distance, bounding_radius=0.8, resolution=90)


def _moved(surface: Surface, yaw_deg: float, scale: float, shift: tuple[float, ...]) -> Surface:
    angle = math.radians(yaw_deg)
    turn = torch.tensor(
        [
            [math.cos(angle), -math.sin(angle), 0.0],
            [math.sin(angle), math.cos(angle), 0.0],
            [0.0, 0.0, 1.0],
        ]
    )
    return Surface(scale * surface.vertices @ turn.T + torch.tensor(shift), surface.faces)


def _measured(
    surface: Surface, distance: Callable[[Tensor], Tensor], protocol: GeometrySection = _PROTOCOL
) -> GeometryMetrics:
    return measure_geometry(
        surface,
        distance,
        protocol,
        bounding_radius=0.8,
        generator=seeding.generator(0, "geometry"),
    )


def test_true_surface_has_the_area_and_volume_of_the_sphere() -> None:
    surface = true_surface(_sphere_distance(0.5), bounding_radius=0.8, resolution=64)
    mesh = trimesh.Trimesh(surface.vertices.numpy(), surface.faces.numpy(), process=False)
    assert mesh.area == pytest.approx(4 * math.pi * 0.25, rel=2e-3)
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.125, rel=2e-3)
    assert is_watertight(surface)


@pytest.mark.parametrize("radius", [-1.0, 1.0])
def test_true_surface_refuses_the_empty_and_the_overflowing(radius: float) -> None:
    with pytest.raises(EvaluationError, match="expected a solid within radius"):
        true_surface(_sphere_distance(radius), bounding_radius=0.8, resolution=16)


def test_equal_shapes_measure_as_equal() -> None:
    metrics = _measured(_surface(trimesh.creation.icosphere(5, radius=0.5)), _sphere_distance(0.5))
    assert metrics.iou_raw > 0.98
    assert metrics.iou > 0.98
    assert metrics.chamfer_raw < 2e-3
    assert metrics.chamfer < 2e-3
    assert metrics.f_score == metrics.f_score_raw == 1.0
    assert metrics.watertight


def test_concentric_spheres_are_apart_by_the_difference_of_radii() -> None:
    sphere = _surface(trimesh.creation.icosphere(5, radius=0.6))
    metrics = _measured(sphere, _sphere_distance(0.5), _RAW)
    assert metrics.chamfer_raw == pytest.approx(0.1, abs=2e-3)
    assert metrics.iou_raw == pytest.approx((0.5 / 0.6) ** 3, abs=0.01)
    assert metrics.f_score_raw == 0.0
    wide = _RAW.model_copy(update={"f_score_distance": 0.11})
    assert _measured(sphere, _sphere_distance(0.5), wide).f_score_raw == 1.0


def test_normals_of_equal_shapes_agree_and_bumps_show_in_them() -> None:
    """Faces of a ridge of slope 1 are turned by 45 degrees, whatever its height."""
    smooth = _measured(_surface(trimesh.creation.icosphere(5, radius=0.5)), _sphere_distance(0.5))
    assert smooth.normal_angle < 3.0
    slab = trimesh.creation.box(extents=(1.0, 1.0, 0.4)).subdivide_to_size(0.021)
    vertices = np.array(slab.vertices)
    top = vertices[:, 2] > 0.199
    ridges = np.abs((vertices[:, 0] / 0.04) % 1 - 0.5) * 0.04
    vertices[:, 2] += np.where(top, ridges, 0.0)
    bumpy = _surface(trimesh.Trimesh(vertices, slab.faces, process=False))
    metrics = _measured(bumpy, _box_distance((0, 0, 0), (1.0, 1.0, 0.4)), _RAW)
    area, rest = 1.0, 1.0 + 4 * 0.4
    # Of the drawn points, those on the ridges and those below them; the true surface is
    # that of a lattice, whose edges are rounded.
    on_mesh, on_truth = area * 2**0.5 / (area * 2**0.5 + rest), area / (area + rest)
    assert metrics.normal_angle == pytest.approx(45 * (on_mesh + on_truth) / 2, abs=4.0)
    assert metrics.chamfer < 0.02


def test_sphere_in_a_cube_fills_pi_over_six() -> None:
    cube = _surface(trimesh.creation.box(extents=(1.0, 1.0, 1.0)))
    metrics = _measured(cube, _sphere_distance(0.5), _RAW)
    assert metrics.iou_raw == pytest.approx(math.pi / 6, abs=0.01)


def test_f_score_weighs_precision_and_recall() -> None:
    # The mesh is half of the truth, two far cubes: every mesh point is met (precision 1),
    # and half of the true points are (recall 1/2), so that F = 2/3.
    centers = ((0.0, -0.45, 0.0), (0.0, 0.45, 0.0))
    parts = [_box_distance(center, (0.3, 0.3, 0.3)) for center in centers]
    cube = trimesh.creation.box(extents=(0.3, 0.3, 0.3))
    cube.apply_translation(centers[0])
    metrics = _measured(
        _surface(cube), lambda points: torch.minimum(parts[0](points), parts[1](points)), _RAW
    )
    assert metrics.f_score_raw == pytest.approx(2 / 3, abs=0.02)
    assert metrics.iou_raw == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("yaw_deg", "scale", "shift"),
    [(0.0, 1.0, (0.0, 0.0, 0.0)), (137.0, 1.0, (0.0, 0.0, 0.0)), (-70.0, 0.6, (0.1, -0.2, 0.05))],
)
def test_alignment_undoes_rotation_scale_and_place(
    yaw_deg: float, scale: float, shift: tuple[float, float, float]
) -> None:
    metrics = _measured(_moved(_wedge(), yaw_deg, scale, shift), _wedge_distance)
    assert metrics.iou > 0.97
    assert metrics.chamfer < 2e-3
    assert metrics.f_score == 1.0
    assert metrics.scale * scale == pytest.approx(1.0, abs=0.01)
    assert (metrics.yaw_deg + yaw_deg + 180) % 360 - 180 == pytest.approx(0, abs=0.5)
    if yaw_deg:
        assert metrics.iou_raw < 0.7


def _joined(*meshes: trimesh.Trimesh) -> Surface:
    return _surface(trimesh.util.concatenate(list(meshes)))


def _as_trimesh(surface: Surface) -> trimesh.Trimesh:
    return trimesh.Trimesh(surface.vertices.numpy(), surface.faces.numpy(), process=False)


def _spike(center: tuple[float, ...], extents: tuple[float, ...]) -> trimesh.Trimesh:
    spike = trimesh.creation.box(extents=extents)
    spike.apply_translation(center)
    return spike


@pytest.mark.parametrize(
    ("center", "extents"),
    [
        ((0.0, 0.0, 1.0), (0.012, 0.012, 1.0)),
        ((0.2, 1.0, 0.0), (0.012, 1.0, 0.012)),
        ((1.4, -1.2, 0.9), (0.05, 0.05, 0.005)),
    ],
    ids=["a spike upwards", "a spike sideways", "a far flake"],
)
@pytest.mark.parametrize("yaw_deg", [0.0, 200.0])
def test_a_spike_does_not_fool_the_alignment(
    center: tuple[float, ...], extents: tuple[float, ...], yaw_deg: float
) -> None:
    """Each has less than a thousandth of the volume, and multiplies the bounding box."""
    clean = _as_trimesh(_wedge())
    spike = _spike(center, extents)
    assert spike.volume < 2e-3 * clean.volume
    mesh = _moved(_joined(clean, spike), yaw_deg, 0.9, (0.1, -0.05, 0.02))
    assert _measured(mesh, _wedge_distance).iou > 0.9


def test_a_missing_part_leaves_the_rest_in_place() -> None:
    """The upright box alone is missing: what is left shares all of its volume."""
    rest = true_surface(_box_distance(*_PARTS[0]), bounding_radius=0.8, resolution=90)
    share = 0.9 * 0.4 * 0.3 / _as_trimesh(_wedge()).volume
    found = _measured(_moved(rest, 130.0, 1.0, (0.05, 0.0, -0.1)), _wedge_distance)
    assert found.iou > 0.9 * share


def test_an_inner_shell_leaves_the_outer_one_in_place() -> None:
    outer = _wedge()
    inner = Surface(0.6 * outer.vertices, outer.faces.flip(1))
    both = _joined(_as_trimesh(outer), _as_trimesh(inner))
    standing = _measured(both, _wedge_distance, _RAW)
    moved = _measured(_moved(both, -100.0, 1.0, (0.1, 0.0, 0.0)), _wedge_distance)
    assert moved.chamfer == pytest.approx(standing.chamfer_raw, rel=0.15)


def test_scale_search_stays_in_the_protocol_range() -> None:
    sphere = _surface(trimesh.creation.icosphere(4, radius=0.4))
    small = _moved(sphere, 0.0, 0.5, (0.0, 0.0, 0.0))
    assert _measured(small, _sphere_distance(0.4), _RAW).scale == pytest.approx(2.0, rel=0.02)
    narrow = _PROTOCOL.model_copy(update={"scale_range": (0.8, 0.9)})
    assert _measured(small, _sphere_distance(0.4), narrow).scale == pytest.approx(1.8, rel=0.02)


def test_a_mesh_with_a_hole_is_measured_and_marked() -> None:
    sphere = _surface(trimesh.creation.icosphere(4, radius=0.5))
    metrics = _measured(Surface(sphere.vertices, sphere.faces[1:]), _sphere_distance(0.5), _RAW)
    assert not metrics.watertight
    assert metrics.chamfer_raw < 5e-3
    assert metrics.iou_raw > 0.9


def test_a_worse_alignment_is_never_taken() -> None:
    """Two halves of one scale cannot both be met: whatever is found is no worse than nothing."""
    low, high = _spike((0, 0, -0.2), (0.3, 0.3, 0.3)), _spike((0, 0, 0.3), (0.1, 0.5, 0.2))
    metrics = _measured(_joined(low, high), _sphere_distance(0.4), _RAW)
    assert metrics.chamfer <= metrics.chamfer_raw


def test_measures_repeat() -> None:
    assert _measured(_wedge(), _wedge_distance) == _measured(_wedge(), _wedge_distance)


def test_no_global_generator_is_drawn_from(
    no_global_draws: Callable[[], AbstractContextManager[None]],
) -> None:
    with no_global_draws():
        _measured(_wedge(), _wedge_distance)
