"""What a model refers to is found; what leads out of its folder, or is not there, is refused."""

import json
import struct
from pathlib import Path

import pytest

from dreamfusion_kit.errors import MeshError
from dreamfusion_kit.mesh.imported import references
from dreamfusion_kit.mesh.imported.references import source_files


def gltf(path: Path, **tree: object) -> Path:
    path.write_text(json.dumps({"asset": {"version": "2.0"}, **tree}))
    return path


def test_a_gltf_brings_its_buffers_and_images(tmp_path: Path) -> None:
    (tmp_path / "textures").mkdir()
    (tmp_path / "my data.bin").write_bytes(b"1")
    (tmp_path / "textures" / "wood.png").write_bytes(b"2")
    model = gltf(
        tmp_path / "chair.gltf",
        buffers=[{"uri": "my%20data.bin"}, {"uri": "data:application/octet-stream;base64,AA=="}],
        images=[{"uri": "textures/wood.png"}, {"bufferView": 0}],
    )
    found = source_files(model)
    assert found == {
        "model.gltf": model,
        "my data.bin": tmp_path / "my data.bin",
        "textures/wood.png": tmp_path / "textures" / "wood.png",
    }


def test_an_obj_brings_its_materials_and_their_diffuse_images(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text("mtllib a.mtl\nv 0 0 0\n")
    (tmp_path / "a.mtl").write_text(
        "newmtl x\nmap_Kd -s 1 1 1 -clamp on my wood.png\nmap_bump no.png\n"
    )
    (tmp_path / "my wood.png").write_bytes(b"")
    assert list(source_files(tmp_path / "a.obj")) == ["model.obj", "a.mtl", "my wood.png"]


@pytest.mark.parametrize(
    "uri",
    ["../secret.bin", "/etc/passwd", "file:///etc/passwd", "http://a.b/c.bin", "a/../../b.bin",
     "..%2Fsecret.bin", "a\nb.bin", "C:\\secret.bin", ".ssh/id", "x" * 300],
)  # fmt: skip
def test_references_that_escape_are_refused(tmp_path: Path, uri: str) -> None:
    (tmp_path / "secret.bin").write_bytes(b"")
    (tmp_path / "inner").mkdir()
    model = gltf(tmp_path / "inner" / "a.gltf", buffers=[{"uri": uri}])
    with pytest.raises(MeshError, match=r"a\.gltf: refers to .* expected a file of the same"):
        source_files(model)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "data.bin").symlink_to(tmp_path / "secret")
    model = gltf(tmp_path / "a" / "a.gltf", buffers=[{"uri": "data.bin"}])
    with pytest.raises(MeshError, match=r"refers to data\.bin: not there"):
        source_files(model)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text("mtllib a.mtl\n")
    with pytest.raises(MeshError, match=r"a\.obj: refers to a\.mtl: not there"):
        source_files(tmp_path / "a.obj")
    with pytest.raises(MeshError, match=r"b\.ply: not there"):
        source_files(tmp_path / "b.ply")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "expected glTF 2.0"),
        (b"glTF", "expected glTF 2.0"),
        (struct.pack("<4sIII4s", b"glTF", 2, 100, 2**31, b"JSON"), "not a binary glTF 2.0"),
        (struct.pack("<4sIII4s", b"glTF", 1, 100, 4, b"JSON"), "not a binary glTF 2.0"),
        (struct.pack("<4sIII4s", b"glTF", 2, 100, 4, b"JSON") + b"[[[[", "expected glTF 2.0"),
        (struct.pack("<4sIII4s", b"glTF", 2, 100, 2, b"JSON") + b"[]", "found glTF None"),
    ],
)
def test_what_is_no_glb_is_said(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.glb").write_bytes(content)
    with pytest.raises(MeshError, match=said):
        source_files(tmp_path / "a.glb")


def test_deeply_nested_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.gltf").write_text("[" * 200_000)
    with pytest.raises(MeshError, match=r"expected glTF 2\.0"):
        source_files(tmp_path / "a.gltf")


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, number: str) -> None:
    """Wherever they stand: trimesh would make a black of a colour with one."""
    tree = f'{{"asset": {{"version": "2.0"}}, "materials": [{{"x": [0.5, {number}]}}]}}'
    (tmp_path / "a.gltf").write_text(tree)
    with pytest.raises(
        MeshError, match=f"{number} is not a finite number; expected glTF 2"
    ) as caught:
        source_files(tmp_path / "a.gltf")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "extensions",
    [{"extensionsRequired": ["KHR_draco_mesh_compression"]},
     {"extensionsUsed": ["KHR_texture_transform"]}],
)  # fmt: skip
def test_extensions_that_change_the_result_are_refused(tmp_path: Path, extensions: dict) -> None:
    with pytest.raises(MeshError, match=r"KHR_.*which is not read"):
        source_files(gltf(tmp_path / "a.gltf", **extensions))


def test_harmless_extensions_pass(tmp_path: Path) -> None:
    model = gltf(tmp_path / "a.gltf", extensionsUsed=["KHR_materials_unlit", "KHR_lights_punctual"])
    assert list(source_files(model)) == ["model.gltf"]


def test_huge_files_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "MAX_BYTES", 1 << 20)
    with (tmp_path / "a.stl").open("wb") as file:
        file.truncate((1 << 20) + 1)
    with pytest.raises(MeshError, match="found 1 MiB, expected at most 1"):
        source_files(tmp_path / "a.stl")


def test_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.fbx").write_bytes(b"")
    with pytest.raises(MeshError, match="found a fbx file, expected one of glb, gltf"):
        source_files(tmp_path / "a.fbx")
