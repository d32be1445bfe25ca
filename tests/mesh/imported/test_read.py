"""The parser as a process: what comes back from it, and what becomes of its end."""

import json
from pathlib import Path

import pytest
import trimesh

from dreamfusion_kit.errors import MeshError
from dreamfusion_kit.mesh.imported import read
from dreamfusion_kit.mesh.imported.read import read_raw

HUGE = {
    "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
    "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
    "accessors": [{"componentType": 5126, "type": "VEC3", "count": 3 * 10**9}],
}  # fmt: skip


def test_a_model_comes_back(tmp_path: Path) -> None:
    trimesh.creation.box((1.0, 2.0, 3.0)).export(tmp_path / "model.glb")
    assert len(read_raw(tmp_path, "model.glb").faces) == 12


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("model.obj", b"v 0 0 0\n", "no faces"),
        ("model.gltf", json.dumps(HUGE).encode(), "GiB to read|cannot be read"),
        (
            "model.gltf",
            json.dumps(HUGE | {"accessors": [{"count": 1}]}).encode(),
            r"cannot be read \(\w+: .+\); expected a valid GLTF; export it again",
        ),
    ],
)
def test_a_refusal_is_one_line_that_names_the_file(
    tmp_path: Path, file: str, content: bytes, said: str
) -> None:
    """The second announces 36 GB of zeros, which the process may not take."""
    (tmp_path / file).write_bytes(content)
    with pytest.raises(MeshError, match=said) as caught:
        read_raw(tmp_path, file, shown_as=Path("chair"))
    assert str(caught.value).startswith("chair: ")
    assert len(str(caught.value).splitlines()) == 1


def test_a_parser_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trimesh.creation.box().export(tmp_path / "model.ply")
    monkeypatch.setattr(read, "MAX_SECONDS", -29.99)
    with pytest.raises(MeshError, match="took too long"):
        read_raw(tmp_path, "model.ply")


def test_a_parser_that_dies_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read.sys, "executable", "/bin/false")
    with pytest.raises(MeshError, match=r"ended the parser \(status 1\)"):
        read_raw(tmp_path, "model.ply")
