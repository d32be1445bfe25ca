"""Axes, centre, ball and creases of imported meshes."""

import numpy as np
import pytest
import trimesh

from dreamfusion_kit.errors import MeshError
from dreamfusion_kit.mesh.imported.place import (
    BALL_RADIUS,
    axes,
    place,
    split_at_creases,
    vertex_normals,
)
from dreamfusion_kit.mesh.imported.raw import RawModel
from dreamfusion_kit.recipe.imported import ImportSection


def section(**changes: object) -> ImportSection:
    usual = {"up": "y", "front": "z", "meters_per_unit": 1.0, "uvs": "unwrap"}
    files = {"model.obj": "0" * 64}
    return ImportSection.model_validate({"file": "model.obj", "files": files, **usual, **changes})


def raw(vertices: np.ndarray, faces: np.ndarray) -> RawModel:
    count = len(faces)
    return RawModel(
        vertices=np.asarray(vertices, float),
        faces=np.asarray(faces, np.int64),
        uvs=np.zeros((count, 3, 2)),
        colors=np.ones((count, 3, 3)),
        material=np.zeros(count, np.int64),
        factors=np.ones((1, 3)),
        image_of=np.array([-1]),
        images=(),
    )


@pytest.mark.parametrize("up", ["x", "y", "z", "-x", "-y", "-z"])
@pytest.mark.parametrize("front", ["x", "y", "z", "-x", "-y", "-z"])
def test_up_and_front_become_z_and_x_by_a_rotation(up: str, front: str) -> None:
    if up[-1] == front[-1]:
        with pytest.raises(ValueError, match="expected two axes"):
            section(up=up, front=front)
        return
    turn = axes(up, front)

    def unit(name: str) -> np.ndarray:
        return np.eye(3)["xyz".index(name[-1])] * (-1 if name[0] == "-" else 1)

    np.testing.assert_array_equal(turn @ unit(up), [0, 0, 1])
    np.testing.assert_array_equal(turn @ unit(front), [1, 0, 0])
    assert np.linalg.det(turn) == 1


def test_the_transform_takes_the_files_points_into_the_ball() -> None:
    box = trimesh.creation.box((2.0, 4.0, 6.0))
    moved = np.array(box.vertices) + np.array([10, 20, 30])
    placed = place(raw(moved, box.faces), section(meters_per_unit=0.01))
    assert np.linalg.norm(placed.vertices, axis=1).max() == pytest.approx(BALL_RADIUS)
    np.testing.assert_allclose(placed.vertices.min(axis=0), -placed.vertices.max(axis=0))
    # y-up extents 2, 4, 6 along x, y, z are world extents 6 (front), 2 (side), 4 (up).
    extents = np.ptp(placed.vertices, axis=0)
    np.testing.assert_allclose(extents / extents[0], [1, 2 / 6, 4 / 6])
    assert placed.size_m == pytest.approx(0.06)
    homogeneous = np.column_stack([moved, np.ones(8)]) @ placed.transform.T
    assert {tuple(row) for row in homogeneous[:, :3].round(6)} == {
        tuple(row) for row in placed.vertices.round(6)
    }


def test_vertices_are_welded_and_faces_without_area_are_counted_out() -> None:
    soup = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [9, 9, 9]]
    placed = place(raw(soup, [[0, 1, 2], [3, 4, 5], [0, 0, 1], [0, 1, 1]]), section())
    assert len(placed.vertices) == 4  # the unused one counts for nothing
    assert placed.kept.tolist() == [0, 1]


@pytest.mark.parametrize("vertices", [[[1, 1, 1]] * 3, [[0, 0, 0], [1, 1, 1], [2, 2, 2]]])
def test_what_has_no_area_is_refused(vertices: list[list[int]]) -> None:
    with pytest.raises(MeshError, match="expected a surface"):
        place(raw(vertices, [[0, 1, 2]]), section())


def test_a_box_keeps_its_edges_and_a_ball_has_none() -> None:
    box = trimesh.creation.box()
    old, faces = split_at_creases(box.vertices, box.faces)
    assert len(old) == 24
    np.testing.assert_array_equal(old[faces], box.faces)
    normals = vertex_normals(box.vertices[old], faces)
    np.testing.assert_allclose(np.abs(normals).max(axis=1), 1)
    ball = trimesh.creation.icosphere(subdivisions=3)
    assert len(split_at_creases(ball.vertices, ball.faces)[0]) == len(ball.vertices)
    outwards = vertex_normals(ball.vertices, ball.faces)
    assert np.einsum("vd,vd->v", outwards, ball.vertices).min() > 0.99


def test_a_normal_of_faces_that_cancel_out_is_one_of_theirs() -> None:
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    normals = vertex_normals(vertices, np.array([[0, 1, 2], [0, 2, 1]]))
    np.testing.assert_allclose(np.abs(normals), [[0, 0, 1]] * 3)
