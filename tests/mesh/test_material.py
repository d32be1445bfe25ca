"""A material in every format, and the files of a mesh without one."""

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from dreamfusion_kit.mesh.atlas import UvAtlas
from dreamfusion_kit.mesh.export import glb_bytes, mtl_text, write_mesh
from dreamfusion_kit.mesh.extract import BakedMesh
from dreamfusion_kit.mesh.isosurface import Isosurface
from dreamfusion_kit.mesh.material import PLAIN, SurfaceMaterial, bake_material
from dreamfusion_kit.scene.placement import read_model

CPU = torch.device("cpu")


@pytest.fixture
def plain() -> BakedMesh:
    """Return a ball over a random atlas."""
    shape = trimesh.creation.icosphere(subdivisions=1, radius=0.7)
    vertices, faces = np.array(shape.vertices), np.array(shape.faces)
    rng = np.random.default_rng(0)
    return BakedMesh(
        surface=Isosurface(vertices, faces),
        normals=vertices / 0.7,
        vertex_colors=np.zeros((len(vertices), 3), dtype=np.uint8),
        atlas=UvAtlas(rng.random((len(vertices), 2)), faces, np.arange(len(vertices)), 1),
        texture=rng.integers(0, 256, (16, 16, 3), dtype=np.uint8),
        facts={},
    )


def varying() -> SurfaceMaterial:
    image = np.zeros((16, 16, 3), dtype=np.uint8)
    image[..., 0], image[..., 1], image[8:, :, 2] = 255, 100, 255
    return SurfaceMaterial(1.0, 1.0, image)


def tree_of(glb: bytes) -> dict[str, Any]:
    return json.loads(glb[20 : 20 + int.from_bytes(glb[12:16], "little")])


def test_one_number_each_is_a_factor(plain: BakedMesh) -> None:
    mesh = replace(plain, material=SurfaceMaterial(0.3, 0.75))
    (found,) = tree_of(glb_bytes(mesh, name="x", provenance={}))["materials"]
    values = found["pbrMetallicRoughness"]
    assert (values["roughnessFactor"], values["metallicFactor"]) == (0.3, 0.75)
    assert "metallicRoughnessTexture" not in values
    assert mtl_text(mesh, name="x").endswith("Pr 0.3\nPm 0.75\n")


def test_what_varies_is_gltf_s_texture(
    plain: BakedMesh, tmp_path: Path, validate_gltf: Callable[[Path], dict[str, Any]]
) -> None:
    mesh = replace(plain, material=varying())
    write_mesh(tmp_path, mesh, name="x", formats=("glb", "obj"), provenance={})
    issues = validate_gltf(tmp_path / "mesh.glb")
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues
    tree = tree_of((tmp_path / "mesh.glb").read_bytes())
    assert [image["name"] for image in tree["images"]] == ["x_albedo", "x_material"]
    model = read_model(tmp_path / "mesh.glb", "x")
    assert (model.roughness, model.metallic) == (1.0, 1.0)
    np.testing.assert_array_equal(model.material, varying().image)
    text = (tmp_path / "mesh.mtl").read_text()
    assert "Pr 0.392157\nPm 0.5\nmap_Pr x_roughness.png\nmap_Pm x_metallic.png\n" in text
    with Image.open(tmp_path / "x_roughness.png") as image:
        assert (np.asarray(image) == 100).all()
    with Image.open(tmp_path / "x_metallic.png") as image:
        assert np.asarray(image)[[0, -1], 0, 0].tolist() == [0, 255]


def test_a_usdz_connects_both_channels(plain: BakedMesh, tmp_path: Path) -> None:
    usd = pytest.importorskip("pxr.Usd", reason="usd-core is not installed")
    shade = pytest.importorskip("pxr.UsdShade", reason="usd-core is not installed")
    mesh = replace(plain, material=varying())
    write_mesh(tmp_path, mesh, name="x", formats=("glb", "obj", "usdz"), provenance={})
    stage = usd.Stage.Open(str(tmp_path / "mesh.usdz"))
    surface = shade.Shader(stage.GetPrimAtPath("/x/x_material/surface"))
    for name, channel in (("roughness", "g"), ("metallic", "b")):
        (source,) = surface.GetInput(name).GetAttr().GetConnections()
        assert source.pathString == f"/x/x_material/material.outputs:{channel}"
    with zipfile.ZipFile(tmp_path / "mesh.usdz") as archive:
        content = archive.read("x_material.png")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), varying().image)


def test_a_mesh_without_a_material_is_what_it_was(plain: BakedMesh) -> None:
    assert plain.material is PLAIN
    values = tree_of(glb_bytes(plain, name="x", provenance={}))["materials"][0]
    expected = {"baseColorTexture": {"index": 0}, "metallicFactor": 0.0, "roughnessFactor": 1.0}
    assert values["pbrMetallicRoughness"] == expected
    assert "Pr" not in mtl_text(plain, name="x")


def test_baking_looks_up_the_surface_s_points(plain: BakedMesh) -> None:
    def values(positions: torch.Tensor) -> torch.Tensor:
        return torch.stack([(positions[:, 0] > 0).float(), torch.full((len(positions),), 0.2)], 1)

    place = {"texture_size_px": 16, "device": CPU}
    parts = (plain.surface, plain.normals, plain.atlas, values)
    varying = bake_material(*parts, varies=True, **place)  # pyright: ignore
    assert varying.image is not None
    assert set(np.unique(varying.image[..., 1])) == {0, 255}
    assert (varying.image[..., 2] == 51).all()
    assert (varying.image[..., 0] == 255).all()
    one = bake_material(*parts, varies=False, **place)  # pyright: ignore
    assert (one.roughness, one.metallic, one.image) == (0.0, 0.2, None)
