"""A textured file becomes the kit's mesh with the same colours in the same places."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from dreamfusion_kit.errors import MeshError
from dreamfusion_kit.mesh.extract import BakedMesh
from dreamfusion_kit.mesh.imported.convert import convert
from dreamfusion_kit.recipe.imported import ImportSection

Section = Callable[..., ImportSection]


def color_at(mesh: BakedMesh, point: tuple[float, float, float]) -> list[int]:
    """Return the texture's colour at the surface point nearest to a world position."""
    surface = trimesh.Trimesh(mesh.surface.vertices, mesh.surface.faces, process=False)
    nearest, _, face = trimesh.proximity.closest_point_naive(surface, [point])
    corners = surface.triangles[face]
    weights = trimesh.triangles.points_to_barycentric(corners, nearest)[0]
    u, v = weights @ mesh.atlas.uvs[mesh.atlas.faces[face[0]]]
    height, width = mesh.texture.shape[:2]
    return mesh.texture[int((1 - v) * height), int(u * width)].tolist()


QUARTERS = {(-0.3, 0.3): [255, 0, 0], (0.3, 0.3): [0, 255, 0],
            (-0.3, -0.3): [0, 0, 255], (0.3, -0.3): [255, 255, 255]}  # fmt: skip


@pytest.mark.parametrize("uvs", ["unwrap", "keep", "box", "cells"])
def test_colours_stay_where_they_were(
    tmp_path: Path, section: Section, quartered: Callable[[Path], Path], uvs: str
) -> None:
    quartered(tmp_path / "model.glb")
    found = convert(tmp_path, section(tmp_path, "model.glb", uvs=uvs), texture_size_px=128)
    for (right, up), color in QUARTERS.items():
        assert color_at(found.mesh, (0.0, right, up)) == color  # the file's x is the world's y
    assert found.record["images"] == 1
    assert found.mesh.facts["faces"] == 2


def test_kept_uvs_keep_their_texture(
    tmp_path: Path, section: Section, quartered: Callable[[Path], Path]
) -> None:
    quartered(tmp_path / "model.glb")
    found = convert(tmp_path, section(tmp_path, "model.glb", uvs="keep"), texture_size_px=128)
    assert found.mesh.texture.shape == (64, 64, 3)
    assert sorted(map(tuple, found.mesh.atlas.uvs.tolist())) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def two_materials(folder: Path) -> None:
    Image.new("RGB", (4, 4), (0, 0, 255)).save(folder / "blue.png")
    (folder / "model.mtl").write_text(
        "newmtl plain\nKd 1 0.5 0\nnewmtl blue\nKd 0.1 0.1 0.1\nmap_Kd blue.png\n"
    )
    (folder / "model.obj").write_text(
        "mtllib model.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 5 0\nvt 5 5\n"
        "usemtl plain\nf 1/1 2/2 3/3\nusemtl blue\nf 1/1 3/3 4/2\n"
    )


def test_materials_come_into_one_texture(tmp_path: Path, section: Section) -> None:
    two_materials(tmp_path)
    found = convert(tmp_path, section(tmp_path, "model.obj"), texture_size_px=64)
    assert color_at(found.mesh, (0, 0.5, -0.3)) == [255, 128, 0]
    assert color_at(found.mesh, (0, -0.5, 0.3)) == [0, 0, 255]
    assert found.record["materials"] == 2


def test_uvs_of_two_materials_or_a_repeating_texture_are_not_kept(
    tmp_path: Path, section: Section
) -> None:
    two_materials(tmp_path)
    with pytest.raises(MeshError, match=r"2 materials with 1 textures, .* without --keep-uvs"):
        convert(tmp_path, section(tmp_path, "model.obj", uvs="keep"), texture_size_px=64)
    (tmp_path / "model.obj").write_text(
        "mtllib model.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nvt 0 0\nvt 5 0\nvt 5 5\n"
        "usemtl blue\nf 1/1 2/2 3/3\n"
    )
    with pytest.raises(MeshError, match="the texture repeats"):
        convert(tmp_path, section(tmp_path, "model.obj", uvs="keep"), texture_size_px=64)


def test_a_box_is_measured_closed_and_shown_with_edges(tmp_path: Path, section: Section) -> None:
    trimesh.creation.box((1, 1, 1)).export(tmp_path / "model.stl")
    found = convert(tmp_path, section(tmp_path, "model.stl"), texture_size_px=64)
    facts = found.mesh.facts
    assert (facts["watertight"], facts["euler_number"], facts["components"]) == (True, 2, 1)
    assert (facts["vertices"], len(found.mesh.surface.vertices)) == (8, 24)
    assert facts["volume"] > 0


def test_the_same_file_gives_the_same_mesh(tmp_path: Path, section: Section) -> None:
    two_materials(tmp_path)
    first, second = (
        convert(tmp_path, section(tmp_path, "model.obj"), texture_size_px=32) for _ in range(2)
    )
    np.testing.assert_array_equal(first.mesh.texture, second.mesh.texture)
    np.testing.assert_array_equal(first.mesh.atlas.uvs, second.mesh.atlas.uvs)
    assert first.record == second.record


def test_another_file_than_the_pinned_one_is_refused(tmp_path: Path, section: Section) -> None:
    trimesh.creation.box().export(tmp_path / "model.stl")
    pinned = section(tmp_path, "model.stl")
    (tmp_path / "more.png").write_bytes(b"")
    with pytest.raises(MeshError, match=r"more\.png: not among import\.files"):
        convert(tmp_path, pinned, texture_size_px=32)
    (tmp_path / "more.png").unlink()
    trimesh.creation.icosphere().export(tmp_path / "model.stl")
    with pytest.raises(MeshError, match="found other content"):
        convert(tmp_path, pinned, texture_size_px=32)
    (tmp_path / "model.stl").unlink()
    with pytest.raises(MeshError, match="not there"):
        convert(tmp_path, pinned, texture_size_px=32)
