"""Files that trimesh wrote come back as they were; broken ones are refused in a few words."""

import io
import json
import re
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from dreamfusion_kit.mesh.imported import parse
from dreamfusion_kit.mesh.imported.raw import RawModel
from dreamfusion_kit.mesh.srgb import to_linear

Parse = Callable[[Path, str], RawModel | str]


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Parse:
    """Return the parser's program, run in this process without its limits.

    It gives the model, or what it says of a file that it refuses.
    """
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)  # put back at the end
    monkeypatch.setattr(parse.resource, "setrlimit", lambda *_: None)
    monkeypatch.setattr(parse, "end_with_parent", lambda: None)

    def run(folder: Path, file: str) -> RawModel | str:
        out = folder / "out.npz"
        monkeypatch.setattr(sys, "argv", ["parse", str(folder), file, str(out)])
        try:
            parse.main()
        except SystemExit as end:
            if end.code != parse.REFUSED:
                raise
            return json.loads(capsys.readouterr().out)
        return RawModel.load(out)

    return run


def box(folder: Path, suffix: str) -> str:
    mesh = trimesh.creation.box((1.0, 2.0, 3.0))
    mesh.visual.vertex_colors = [255, 0, 0, 255]
    mesh.export(folder / f"model.{suffix}")
    return f"model.{suffix}"


@pytest.mark.parametrize("suffix", ["glb", "gltf", "obj", "ply", "stl"])
def test_every_format_is_read(tmp_path: Path, suffix: str, parsed: Parse) -> None:
    if suffix == "gltf":
        mesh = trimesh.creation.box((1.0, 2.0, 3.0))
        mesh.visual.vertex_colors = [255, 0, 0, 255]
        for name, content in mesh.export(file_type="gltf").items():
            (tmp_path / name).write_bytes(content)
        file = "model.gltf"
    else:
        file = box(tmp_path, suffix)
    raw = parsed(tmp_path, file)
    assert isinstance(raw, RawModel)
    assert len(raw.faces) == 12
    np.testing.assert_allclose(np.ptp(raw.vertices, axis=0), [1, 2, 3], rtol=1e-6)
    expected = [1, 0, 0] if suffix != "stl" else to_linear(np.full(3, 0.8))
    np.testing.assert_allclose(raw.colors.reshape(-1, 3), np.tile(expected, (36, 1)), atol=1e-6)


def test_parts_are_placed_and_mirrored_ones_keep_their_outside(
    tmp_path: Path, parsed: Parse
) -> None:
    scene = trimesh.Scene()
    cube = trimesh.creation.box((2.0, 2.0, 2.0))
    scene.add_geometry(cube, transform=trimesh.transformations.translation_matrix([5, 0, 0]))
    scene.add_geometry(cube, transform=np.diag([-1.0, 1, 1, 1]))
    (tmp_path / "model.glb").write_bytes(scene.export(file_type="glb"))
    raw = parsed(tmp_path, "model.glb")
    assert isinstance(raw, RawModel)
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
        ("noise", "cannot be read"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, name: str, said: str, parsed: Parse) -> None:
    file, content = broken(name)
    (tmp_path / file).write_bytes(content)
    problem = parsed(tmp_path, file)
    assert isinstance(problem, str)
    assert re.search(said, problem), problem
    assert len(problem.splitlines()) == 1


def test_a_decompression_bomb_is_not_decoded(tmp_path: Path, parsed: Parse) -> None:
    (tmp_path / "bomb.png").write_bytes(png_bomb())
    (tmp_path / "model.mtl").write_text("newmtl a\nmap_Kd bomb.png\n")
    (tmp_path / "model.obj").write_text(
        "mtllib model.mtl\nusemtl a\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 3/1\n"
    )
    assert "texture that cannot be read" in str(parsed(tmp_path, "model.obj"))


def test_a_texture_of_no_format_is_named_the_same_each_time(tmp_path: Path, parsed: Parse) -> None:
    (tmp_path / "wood.png").write_bytes(b"<svg/>")
    (tmp_path / "model.mtl").write_text("newmtl a\nmap_Kd wood.png\n")
    (tmp_path / "model.obj").write_text(
        "mtllib model.mtl\nusemtl a\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 3/1\n"
    )
    said = parsed(tmp_path, "model.obj")
    assert said == "has a texture that cannot be read (not of a known format); export it again"


def test_too_many_faces_are_refused(tmp_path: Path, parsed: Parse) -> None:
    faces = 1_000_001
    (tmp_path / "model.stl").write_bytes(STL_HEADER + struct.pack("<I", faces) + bytes(50 * faces))
    said = str(parsed(tmp_path, "model.stl"))
    assert "found 1,000,001 faces, expected at most 1,000,000" in said
