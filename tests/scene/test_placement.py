"""Models from GLBs, and where they come to stand."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from dreamfusion_kit.errors import MeshError
from dreamfusion_kit.recipe.scene import GroundSection, ObjectSection
from dreamfusion_kit.scene.placement import Model, place_objects, read_model, rotation, table_top


def section(**changes: object) -> ObjectSection:
    usual = {"asset": "sign", "position": (0, 0, 0), "rotation_deg": (0, 0, 0), "scale": 1.0}
    return ObjectSection.model_validate({**usual, **changes})


def test_a_glb_is_read_in_world_axes(sign: Model) -> None:
    assert sign.vertices.tolist() == [[0, -1, 0], [0, 1, 0], [0, 1, 2], [0, -1, 2]]
    np.testing.assert_allclose(sign.normals, [[1, 0, 0]] * 4)
    assert sign.texture is not None
    assert sign.texture[0, 0].tolist() == [255, 0, 0]
    assert (sign.roughness, sign.metallic) == (1, 0)


def test_what_is_no_glb_is_said(tmp_path: Path) -> None:
    path = tmp_path / "mesh.glb"
    path.write_bytes(b"glTF")
    with pytest.raises(MeshError, match=r"mesh\.glb: found no mesh that the kit wrote"):
        read_model(path, "sign")


@pytest.mark.parametrize(
    ("degrees", "point", "expected"),
    [
        ((0, 0, 90), [1, 0, 0], [0, 1, 0]),
        ((90, 0, 0), [0, 1, 0], [0, 0, 1]),
        ((0, 90, 0), [0, 0, 1], [1, 0, 0]),
        ((90, 0, 90), [0, 1, 0], [0, 0, 1]),
        ((0, 90, 90), [1, 0, 0], [0, 0, -1]),
    ],
)
def test_turns_are_about_x_then_y_then_z(
    degrees: tuple[float, float, float], point: list[float], expected: list[float]
) -> None:
    np.testing.assert_allclose(rotation(*degrees) @ point, expected, atol=1e-12)


@pytest.mark.parametrize("degrees", [(0, 0, 0), (0, 0, 30), (90, 0, 0), (20, -70, 200)])
def test_the_middle_of_the_base_stands_at_the_position(
    sign: Model, degrees: tuple[float, float, float]
) -> None:
    where = section(position=(3.0, 4.0, 5.0), rotation_deg=degrees, scale=0.1)
    (instance,) = place_objects({"left": where}, {"sign": sign})
    matrix = instance.transform
    placed = sign.vertices @ matrix[:3, :3].T + matrix[:3, 3]
    lower, upper = placed.min(axis=0), placed.max(axis=0)
    np.testing.assert_allclose((lower[:2] + upper[:2]) / 2, [3, 4])
    assert lower[2] == pytest.approx(5)
    assert np.linalg.det(matrix[:3, :3]) == pytest.approx(0.1**3)


def test_the_table_top_is_closed_and_its_upper_side_is_the_ground() -> None:
    top = table_top(GroundSection(radius=0.5, thickness=0.02, color=(1, 1, 1)), "ground")
    mesh = trimesh.Trimesh(top.vertices, top.faces)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(np.pi * 0.25 * 0.02, rel=0.02)
    np.testing.assert_allclose(mesh.bounds, [[-0.5, -0.5, -0.02], [0.5, 0.5, 0]], atol=1e-3)
    upper = top.vertices[:, 2] == 0
    assert np.einsum("vd,vd->v", top.normals, top.vertices - [0, 0, -0.01]).min() > 0
    assert (top.normals[upper][:, 2] > 0).all()
