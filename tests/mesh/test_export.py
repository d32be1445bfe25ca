"""The files, opened by libraries that did not write them."""

import io
import json

import numpy as np
import open3d
import pygltflib
import pytest
import torch
import trimesh
from PIL import Image
from pydantic import TypeAdapter

from dreamfusion_kit.image_files import png_bytes
from dreamfusion_kit.mesh.export import (
    facts_json,
    glb_bytes,
    obj_text,
    ply_bytes,
    stl_bytes,
    usd_object,
    write_mesh,
)
from dreamfusion_kit.mesh.extract import extract_mesh
from dreamfusion_kit.mesh.facts import MeshFacts
from dreamfusion_kit.mesh.usd import usdz_bytes
from dreamfusion_kit.recipe.schema import AdaptiveThresholdSection, MeshSection

NAME, FORMATS = "red_mug", ("glb", "obj", "ply", "stl", "usdz")
PROVENANCE = {"prompt": "a réd mug", "seed": 0, "versions": {"torch": "2"}}
FRONT, SIDE, TOP = 0.8, 0.65, 0.5  # extents of the shape along world +x, +y, +z


def asymmetric(positions):
    """Return the density of a small ball with three arms of different length."""
    arms = torch.full_like(positions[:, 0], -1.0)
    for axis, length in enumerate((FRONT, SIDE, TOP)):
        along = positions[:, axis]
        others = [i for i in range(3) if i != axis]
        across = positions[:, others].norm(dim=-1)
        arm = torch.minimum(0.1 - across, torch.minimum(length - along, along))
        arms = torch.maximum(arms, arm)
    ball = 0.25 - positions.norm(dim=-1)
    return 50 * torch.sigmoid(torch.maximum(arms, ball) / 0.01)


@pytest.fixture(scope="module")
def mesh():
    section = MeshSection(
        grid_resolution=48,
        threshold=AdaptiveThresholdSection(kind="adaptive", fraction=0.5),
        min_component_fraction=0.05,
        max_faces=1500,
        smoothing_iterations=0,
        texture_size_px=64,
        texture_depth=0.0,
        formats=("glb", "obj", "ply", "stl"),
    )
    return extract_mesh(
        asymmetric,
        lambda positions: (positions + 1) / 2,
        section,
        bounding_radius=1.0,
        device=torch.device("cpu"),
    )


@pytest.fixture(scope="module")
def gltf(mesh):
    return pygltflib.GLTF2().load_from_bytes(glb_bytes(mesh, name=NAME, provenance=PROVENANCE))


def accessor(gltf, index):
    """Decode an accessor by hand from the specification."""
    entry = gltf.accessors[index]
    view = gltf.bufferViews[entry.bufferView]
    start = (view.byteOffset or 0) + (entry.byteOffset or 0)
    width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}[entry.type]
    dtype = {5125: "<u4", 5126: "<f4"}[entry.componentType]
    flat = np.frombuffer(gltf.binary_blob(), dtype, entry.count * width, start)
    return flat.reshape(entry.count, width)


@pytest.fixture(scope="module")
def primitive(gltf):
    return gltf.meshes[0].primitives[0]


def test_glb_carries_its_provenance(gltf):
    assert gltf.asset.version == "2.0"
    assert gltf.asset.extras == PROVENANCE


def test_glb_is_y_up_with_its_front_along_z(gltf, primitive):
    assert len(gltf.nodes) - sum(node.mesh is None for node in gltf.nodes) == 1
    assert all(node.rotation is None for node in gltf.nodes)
    assert all(node.matrix in (None, np.eye(4).ravel().tolist()) for node in gltf.nodes)
    highest = accessor(gltf, primitive.attributes.POSITION).max(axis=0)
    np.testing.assert_allclose(highest, [SIDE, TOP, FRONT], atol=0.04)


def test_glb_faces_and_normals_look_outwards(gltf, primitive):
    vertices = accessor(gltf, primitive.attributes.POSITION).astype(float)
    faces = accessor(gltf, primitive.indices).reshape(-1, 3)
    normals = accessor(gltf, primitive.attributes.NORMAL)
    corners = vertices[faces]
    assert np.linalg.det(corners).sum() / 6 > 0.05  # signed volume
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (np.einsum("fd,fd->f", across, normals[faces].mean(axis=1)) > 0).mean() > 0.99


def test_glb_material_is_plain_and_its_texture_is_the_png(gltf, mesh):
    material = gltf.materials[0]
    assert gltf.extensionsUsed in (None, [])
    assert material.pbrMetallicRoughness.metallicFactor == 0
    assert material.pbrMetallicRoughness.roughnessFactor == 1
    texture = gltf.textures[material.pbrMetallicRoughness.baseColorTexture.index]
    view = gltf.bufferViews[gltf.images[texture.source].bufferView]
    start = view.byteOffset or 0
    embedded = gltf.binary_blob()[start : start + view.byteLength]
    assert embedded.rstrip(b"\0") == png_bytes(mesh.texture)  # padded to four bytes
    assert gltf.samplers[texture.sampler].wrapS == pygltflib.CLAMP_TO_EDGE


def test_glb_texture_read_through_its_uvs_is_the_albedo(gltf, primitive, mesh):
    uvs = accessor(gltf, primitive.attributes.TEXCOORD_0)  # glTF: v runs down
    side, up, front = accessor(gltf, primitive.attributes.POSITION).T
    size = len(mesh.texture)
    column, row = np.clip((uvs * size).astype(int), 0, size - 1).T
    error = mesh.texture[row, column] / 255 - (np.stack([front, side, up], axis=-1) + 1) / 2
    assert np.sqrt((error**2).mean()) < 0.03


def test_glb_opens_in_trimesh(mesh):
    file = io.BytesIO(glb_bytes(mesh, name=NAME, provenance=PROVENANCE))
    loaded = trimesh.load(file, file_type="glb").to_geometry()
    assert len(loaded.faces) == len(mesh.surface.faces)
    assert loaded.visual.material.baseColorTexture.size == (64, 64)


@pytest.fixture
def folder(mesh, tmp_path):
    write_mesh(tmp_path, mesh, name=NAME, formats=FORMATS, provenance=PROVENANCE)
    return tmp_path


def test_all_files_are_written(folder):
    names = {path.name for path in folder.iterdir()}
    assert names == {f"mesh.{suffix}" for suffix in (*FORMATS, "mtl", "json")} | {
        "red_mug_albedo.png"
    }


def test_obj_opens_in_open3d_with_y_up_and_its_front_along_z(folder, mesh):
    loaded = open3d.io.read_triangle_mesh(str(folder / "mesh.obj"), enable_post_processing=False)
    assert len(loaded.triangles) == len(mesh.surface.faces)
    np.testing.assert_allclose(loaded.get_max_bound(), [SIDE, TOP, FRONT], atol=0.04)
    uvs = np.asarray(loaded.triangle_uvs).reshape(-1, 3, 2)
    np.testing.assert_allclose(uvs, mesh.atlas.uvs[mesh.atlas.faces], atol=1e-6)


def test_obj_positions_are_shared_across_chart_borders(mesh):
    rows = [
        line.split()[1:] for line in obj_text(mesh, name=NAME).splitlines() if line.startswith("f ")
    ]
    faces = [[int(corner.split("/")[0]) for corner in row] for row in rows]
    edges = {(a, b) for face in faces for a, b in zip(face, face[1:] + face[:1], strict=True)}
    assert len(edges) == 3 * len(faces)
    assert edges == {(b, a) for a, b in edges}


def test_obj_opens_in_trimesh_with_its_texture(folder, mesh):
    loaded = trimesh.load_mesh(folder / "mesh.obj", process=False)
    np.testing.assert_array_equal(np.asarray(loaded.visual.material.image), mesh.texture)
    assert loaded.volume == pytest.approx(mesh.facts["volume"], rel=1e-4)


def test_ply_opens_in_open3d_with_its_colours(folder, mesh):
    loaded = open3d.io.read_triangle_mesh(str(folder / "mesh.ply"))
    vertices = np.asarray(loaded.vertices)
    np.testing.assert_allclose(vertices, mesh.surface.vertices, atol=1e-6)
    np.testing.assert_allclose(np.asarray(loaded.vertex_colors), (vertices + 1) / 2, atol=0.003)
    np.testing.assert_allclose(np.asarray(loaded.vertex_normals), mesh.normals, atol=1e-6)


def test_stl_opens_in_open3d_in_world_coordinates(folder, mesh):
    loaded = open3d.io.read_triangle_mesh(str(folder / "mesh.stl"))
    assert len(loaded.triangles) == len(mesh.surface.faces)
    np.testing.assert_allclose(loaded.get_max_bound(), [FRONT, SIDE, TOP], atol=0.04)
    assert trimesh.load_mesh(folder / "mesh.stl").volume == pytest.approx(
        mesh.facts["volume"], rel=1e-4
    )


def test_every_format_carries_the_name(folder, gltf):
    named = [*gltf.meshes, *gltf.materials, *gltf.textures]
    assert [entry.name for entry in named] == ["red_mug"] * 3
    assert gltf.images[0].name == "red_mug_albedo"
    assert [node.name for node in gltf.nodes if node.mesh is not None] == ["red_mug"]
    obj = (folder / "mesh.obj").read_text().splitlines()
    assert {"o red_mug", "usemtl red_mug"} <= set(obj)
    assert "newmtl red_mug" in (folder / "mesh.mtl").read_text()
    assert b"\nobj_info red_mug\n" in (folder / "mesh.ply").read_bytes()[:200]
    assert (folder / "mesh.stl").read_bytes()[:80].rstrip() == b"red_mug"


def test_the_khronos_validator_finds_nothing(folder, validate_gltf):
    issues = validate_gltf(folder / "mesh.glb")
    assert issues["messages"] == []


def test_a_damaged_glb_does_not_pass_the_validator(folder, validate_gltf):
    """So that a validator that says nothing about anything would be noticed."""
    damaged = (folder / "mesh.glb").read_bytes().replace(b'"VEC3"', b'"VEC4"')
    (folder / "mesh.glb").write_bytes(damaged)
    assert validate_gltf(folder / "mesh.glb")["numErrors"] > 0


def test_png_is_plain_rgb(folder, mesh):
    with Image.open(folder / "red_mug_albedo.png") as image:
        assert (image.mode, image.info) == ("RGB", {})
        np.testing.assert_array_equal(np.asarray(image), mesh.texture)


def test_json_holds_the_facts_with_sorted_keys(mesh):
    facts = json.loads(facts_json(mesh))
    assert TypeAdapter(MeshFacts).validate_json(facts_json(mesh), strict=True) == facts
    assert facts == mesh.facts
    assert list(facts) == sorted(facts)


def test_equal_meshes_give_equal_bytes(mesh):
    assert glb_bytes(mesh, name=NAME, provenance=PROVENANCE) == glb_bytes(
        mesh, name=NAME, provenance=PROVENANCE
    )
    assert obj_text(mesh, name=NAME) == obj_text(mesh, name=NAME)
    assert ply_bytes(mesh, name=NAME) == ply_bytes(mesh, name=NAME)
    assert stl_bytes(mesh, name=NAME) == stl_bytes(mesh, name=NAME)
    first, second = (usdz_bytes(NAME, [usd_object(mesh, name=NAME)]) for _ in range(2))
    assert first == second
