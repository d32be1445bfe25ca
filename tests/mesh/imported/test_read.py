"""Files that trimesh wrote come back as they were; broken ones give one line."""

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import trimesh

from dreamfusion_kit.errors import MeshError
from dreamfusion_kit.mesh.imported import read
from dreamfusion_kit.mesh.imported.read import read_raw
from dreamfusion_kit.mesh.srgb import to_linear


def box(folder: Path, suffix: str) -> str:
    mesh = trimesh.creation.box((1.0, 2.0, 3.0))
    mesh.visual.vertex_colors = [255, 0, 0, 255]
    mesh.export(folder / f"model.{suffix}")
    return f"model.{suffix}"


@pytest.mark.parametrize("suffix", ["glb", "gltf", "obj", "ply", "stl"])
def test_every_format_is_read(tmp_path: Path, suffix: str) -> None:
    if suffix == "gltf":
        mesh = trimesh.creation.box((1.0, 2.0, 3.0))
        mesh.visual.vertex_colors = [255, 0, 0, 255]
        for name, content in mesh.export(file_type="gltf").items():
            (tmp_path / name).write_bytes(content)
        file = "model.gltf"
    else:
        file = box(tmp_path, suffix)
    raw = read_raw(tmp_path, file)
    assert len(raw.faces) == 12
    np.testing.assert_allclose(np.ptp(raw.vertices, axis=0), [1, 2, 3], rtol=1e-6)
    expected = [1, 0, 0] if suffix != "stl" else to_linear(np.full(3, 0.8))
    np.testing.assert_allclose(raw.colors.reshape(-1, 3), np.tile(expected, (36, 1)), atol=1e-6)


def test_parts_are_placed_and_mirrored_ones_keep_their_outside(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    cube = trimesh.creation.box((2.0, 2.0, 2.0))
    scene.add_geometry(cube, transform=trimesh.transformations.translation_matrix([5, 0, 0]))
    scene.add_geometry(cube, transform=np.diag([-1.0, 1, 1, 1]))
    (tmp_path / "model.glb").write_bytes(scene.export(file_type="glb"))
    raw = read_raw(tmp_path, "model.glb")
    assert (raw.vertices[:, 0].min(), raw.vertices[:, 0].max()) == (-1, 6)
    assert np.linalg.det(raw.vertices[raw.faces]).sum() / 6 == pytest.approx(16)


def png_bomb() -> bytes:
    """Return a PNG of 60,000 x 60,000 black pixels in some kilobytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (struct.pack(">I", len(content)) + kind + content
                + struct.pack(">I", zlib.crc32(kind + content)))  # fmt: skip

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1 << 20))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body)
            + chunk(b"IEND", b""))  # fmt: skip


STL_HEADER = bytes(80)


def broken(name: str) -> tuple[str, bytes]:
    triangle = "v 0 0 0\nv 1 0 0\nv 0 1 0\n"
    gltf = {"asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0}], "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
            "accessors": [{"componentType": 5126, "type": "VEC3", "count": 3 * 10**9}]}  # fmt: skip
    match name:
        case "empty":
            return "model.obj", b""
        case "points":
            return "model.obj", triangle.encode()
        case "nan":
            return "model.obj", b"v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
        case "no such vertex":
            return "model.obj", (triangle + "f 1 2 9\n").encode()
        case "truncated":
            mesh = io.BytesIO()
            trimesh.creation.box().export(mesh, file_type="stl")
            return "model.stl", mesh.getvalue()[:-100]
        case "lies about its length":
            return "model.stl", STL_HEADER + struct.pack("<I", 2**32 - 1) + bytes(50)
        case "huge accessor":
            return "model.gltf", json.dumps(gltf).encode()
        case _:
            return "model.ply", b"\x00\xff" * 1000


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("empty", "no faces"),
        ("points", "no faces"),
        ("nan", "not finite"),
        ("no such vertex", "cannot be read|do not exist"),
        ("truncated", "truncated or damaged"),
        ("lies about its length", "truncated or damaged"),
        ("huge accessor", "GiB to read|cannot be read"),
        ("noise", "cannot be read"),
    ],
)
def test_broken_files_give_one_line(tmp_path: Path, name: str, said: str) -> None:
    file, content = broken(name)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(MeshError, match=said) as caught:
        read_raw(tmp_path, file, shown_as=Path("chair"))
    assert str(caught.value).startswith("chair: ")
    assert len(str(caught.value).splitlines()) == 1


def test_a_decompression_bomb_is_not_decoded(tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(png_bomb())
    (tmp_path / "model.mtl").write_text("newmtl a\nmap_Kd bomb.png\n")
    (tmp_path / "model.obj").write_text(
        "mtllib model.mtl\nusemtl a\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 3/1\n"
    )
    with pytest.raises(MeshError, match="texture that cannot be read") as caught:
        read_raw(tmp_path, "model.obj")
    assert len(str(caught.value).splitlines()) == 1


def test_too_many_faces_are_refused(tmp_path: Path) -> None:
    faces = 1_000_001
    (tmp_path / "model.stl").write_bytes(STL_HEADER + struct.pack("<I", faces) + bytes(50 * faces))
    with pytest.raises(MeshError, match="found 1,000,001 faces, expected at most 1,000,000"):
        read_raw(tmp_path, "model.stl")


def test_a_parser_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "MAX_SECONDS", -29.99)
    with pytest.raises(MeshError, match="took too long"):
        read_raw(tmp_path, box(tmp_path, "ply"))
