"""Alignment: what it undoes, and what does not fool it."""

import pytest
import trimesh

from dreamfusion_kit.evaluation.geometry import true_surface
from dreamfusion_kit.evaluation.surface import Surface

from .solids import (
    PARTS,
    PROTOCOL,
    RAW,
    as_trimesh,
    box_at,
    box_distance,
    joined,
    measured,
    moved,
    sphere_distance,
    surface_of,
    wedge,
    wedge_distance,
)


@pytest.mark.parametrize(
    ("yaw_deg", "scale", "shift"),
    [(0.0, 1.0, (0.0, 0.0, 0.0)), (137.0, 1.0, (0.0, 0.0, 0.0)), (-70.0, 0.6, (0.1, -0.2, 0.05))],
)
def test_alignment_undoes_rotation_scale_and_place(
    yaw_deg: float, scale: float, shift: tuple[float, float, float]
) -> None:
    metrics = measured(moved(wedge(), yaw_deg, scale, shift), wedge_distance)
    assert metrics.iou > 0.97
    assert metrics.chamfer < 2e-3
    assert metrics.f_score == 1.0
    assert metrics.scale * scale == pytest.approx(1.0, abs=0.01)
    assert (metrics.yaw_deg + yaw_deg + 180) % 360 - 180 == pytest.approx(0, abs=0.5)
    if yaw_deg:
        assert metrics.iou_raw < 0.7


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
    clean = as_trimesh(wedge())
    spike = box_at(center, extents)
    assert spike.volume < 2e-3 * clean.volume
    mesh = moved(joined(clean, spike), yaw_deg, 0.9, (0.1, -0.05, 0.02))
    assert measured(mesh, wedge_distance).iou > 0.9


def test_a_missing_part_leaves_the_rest_in_place() -> None:
    """The upright box alone is missing: what is left shares all of its volume."""
    rest = true_surface(box_distance(*PARTS[0]), bounding_radius=0.8, resolution=90)
    share = 0.9 * 0.4 * 0.3 / as_trimesh(wedge()).volume
    found = measured(moved(rest, 130.0, 1.0, (0.05, 0.0, -0.1)), wedge_distance)
    assert found.iou > 0.9 * share


def test_an_inner_shell_leaves_the_outer_one_in_place() -> None:
    outer = wedge()
    inner = Surface(0.6 * outer.vertices, outer.faces.flip(1))
    both = joined(as_trimesh(outer), as_trimesh(inner))
    standing = measured(both, wedge_distance, RAW)
    found = measured(moved(both, -100.0, 1.0, (0.1, 0.0, 0.0)), wedge_distance)
    assert found.chamfer == pytest.approx(standing.chamfer_raw, rel=0.15)


def test_scale_search_stays_in_the_protocol_range() -> None:
    sphere = surface_of(trimesh.creation.icosphere(4, radius=0.4))
    small = moved(sphere, 0.0, 0.5, (0.0, 0.0, 0.0))
    assert measured(small, sphere_distance(0.4), RAW).scale == pytest.approx(2.0, rel=0.02)
    narrow = PROTOCOL.model_copy(update={"scale_range": (0.8, 0.9)})
    assert measured(small, sphere_distance(0.4), narrow).scale == pytest.approx(1.8, rel=0.02)


def test_a_worse_alignment_is_never_taken() -> None:
    """Two halves of one scale cannot both be met: whatever is found is no worse than nothing."""
    low, high = box_at((0, 0, -0.2), (0.3, 0.3, 0.3)), box_at((0, 0, 0.3), (0.1, 0.5, 0.2))
    metrics = measured(joined(low, high), sphere_distance(0.4), RAW)
    assert metrics.chamfer <= metrics.chamfer_raw
