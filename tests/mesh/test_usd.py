"""USDZ files, opened by Pixar's library, its checker and Python's ZIP reader."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pxr import Gf, Usd, UsdGeom, UsdShade, UsdValidation

from dreamfusion_kit.errors import MissingExtraError
from dreamfusion_kit.image_files import png_bytes
from dreamfusion_kit.mesh.usd import UsdObject, usdz_bytes

VERTICES = np.array([[0.0, 0, 0], [2, 0, 0], [0, 3, 0]])
PICTURE = np.full((4, 4, 3), 200, np.uint8)


def triangle(name: str = "red_mug", **changes: object) -> UsdObject:
    defaults = {
        "vertices": VERTICES,
        "faces": np.array([[0, 1, 2]]),
        "normals": np.array([[0.0, 0, 1]] * 3),
        "uvs": np.array([[0.0, 0], [1, 0], [0, 1]]),
        "image": (f"{name}_albedo.png", png_bytes(PICTURE)),
    }
    return UsdObject(name=name, **{**defaults, **changes})


def opened(folder: Path, content: bytes) -> Usd.Stage:
    path = folder / "file.usdz"
    path.write_bytes(content)
    return Usd.Stage.Open(str(path))


def test_a_mesh_is_the_default_prim_with_its_material(tmp_path: Path) -> None:
    stage = opened(tmp_path, usdz_bytes("red_mug", [triangle()]))
    assert UsdGeom.GetStageUpAxis(stage) == "Y"
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1
    assert stage.GetDefaultPrim().GetPath() == "/red_mug"
    mesh = UsdGeom.Mesh(stage.GetPrimAtPath("/red_mug/red_mug_mesh"))
    np.testing.assert_array_equal(mesh.GetPointsAttr().Get(), VERTICES)
    assert mesh.GetExtentAttr().Get()[1] == Gf.Vec3f(2, 3, 0)
    material, _ = UsdShade.MaterialBindingAPI(mesh).ComputeBoundMaterial()
    assert material.GetPath() == "/red_mug/red_mug_material"
    texture = UsdShade.Shader(stage.GetPrimAtPath("/red_mug/red_mug_material/albedo"))
    assert texture.GetInput("file").Get().path == "red_mug_albedo.png"


def test_usds_own_validators_find_nothing(tmp_path: Path) -> None:
    instances = [("left", np.eye(4)), ("right", np.eye(4))]
    objects = [triangle(instances=instances), triangle("ground", uvs=None, image=None)]
    path = tmp_path / "scene.usdz"
    path.write_bytes(usdz_bytes("toy-table", objects))
    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    assert len(validators) > 20
    found = UsdValidation.ValidationContext(validators).Validate(Usd.Stage.Open(str(path)))
    assert [error.GetErrorAsString() for error in found] == []


def test_files_are_stored_aligned_and_without_a_clock() -> None:
    content = usdz_bytes("red_mug", [triangle()])
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        for info in archive.infolist():
            header = info.header_offset
            name = int.from_bytes(content[header + 26 : header + 28], "little")
            extra = int.from_bytes(content[header + 28 : header + 30], "little")
            assert (header + 30 + name + extra) % 64 == 0
            assert info.compress_type == zipfile.ZIP_STORED
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
        image = Image.open(io.BytesIO(archive.read("red_mug_albedo.png")))
        np.testing.assert_array_equal(np.asarray(image), PICTURE)


def test_instances_stand_where_their_matrices_say(tmp_path: Path) -> None:
    """The matrix turns x to y and moves by (10, 20, 30), as it does for a column vector."""
    turn = np.array([[0.0, -1, 0, 10], [1, 0, 0, 20], [0, 0, 1, 30], [0, 0, 0, 1]])
    each = triangle(instances=[("near", np.eye(4)), ("3rd-one", turn)])
    stage = opened(tmp_path, usdz_bytes("toy-table", [each]))
    assert stage.GetDefaultPrim().GetPath() == "/toy_table"
    for path, expected in (
        ("/toy_table/near/red_mug/red_mug_mesh", [2, 0, 0]),
        ("/toy_table/_3rd_one/red_mug/red_mug_mesh", [10, 22, 30]),
    ):
        mesh = UsdGeom.Mesh(stage.GetPrimAtPath(path))
        assert mesh, path
        to_world = UsdGeom.XformCache().GetLocalToWorldTransform(mesh.GetPrim())
        point = to_world.Transform(Gf.Vec3d(mesh.GetPointsAttr().Get()[1]))
        np.testing.assert_allclose(point, expected, atol=1e-6)


def test_without_usd_core_the_command_that_installs_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr("dreamfusion_kit.mesh.usd.importlib.import_module", missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'dreamfusion-kit\[usd\]'"):
        usdz_bytes("red_mug", [triangle()])
