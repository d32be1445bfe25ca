"""Unwrapping in a process of its own: the same atlas, and an end where xatlas has none."""

import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh
import xatlas

from dreamfusion_kit.errors import MeshError
from dreamfusion_kit.mesh import unwrap as module
from dreamfusion_kit.mesh.atlas import UvAtlas
from dreamfusion_kit.mesh.isosurface import Isosurface
from dreamfusion_kit.mesh.unwrap import unwrap

ENDLESS = """
import resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (1, 2))
while True:
    pass
"""


@pytest.fixture
def ball() -> Isosurface:
    mesh = trimesh.creation.icosphere(subdivisions=2, radius=0.7)
    return Isosurface(np.asarray(mesh.vertices), mesh.faces.astype(np.int64))


def replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str) -> None:
    """Have another program run in place of the one that unwraps."""
    (tmp_path / "stand_in_for_charts.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(module.chart_program, "__name__", "stand_in_for_charts")


def test_it_is_what_xatlas_gives_in_this_process(ball: Isosurface) -> None:
    found = unwrap(ball, texture_size_px=128)
    atlas = xatlas.Atlas()
    atlas.add_mesh(ball.vertices.astype(np.float32), ball.faces.astype(np.uint32))
    options = xatlas.PackOptions()
    options.resolution, options.padding, options.create_image = 128, 4, False
    atlas.generate(xatlas.ChartOptions(), options)
    vertex_indices, faces, uvs = atlas[0]
    np.testing.assert_array_equal(found.vertex_indices, vertex_indices)
    np.testing.assert_array_equal(found.faces, faces)
    np.testing.assert_array_equal(found.uvs, uvs)
    assert found.num_charts == atlas.chart_count
    assert not found.is_box_projection


def test_one_that_takes_too_much_work_is_projected_onto_a_box(
    ball: Isosurface, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    replaced(monkeypatch, tmp_path, ENDLESS)
    found = unwrap(ball, texture_size_px=128)
    assert found.is_box_projection
    assert found.num_charts >= 6


@pytest.mark.parametrize("program", ["raise SystemExit(1)", "import os; os.kill(os.getpid(), 9)"])
def test_a_broken_program_is_an_error_and_no_fallback(
    ball: Isosurface, program: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    replaced(monkeypatch, tmp_path, program)
    with pytest.raises(MeshError, match=r"^mesh: unwrapping 320 faces ended with status"):
        unwrap(ball, texture_size_px=128)


def test_the_program_keeps_to_its_budget(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The real program, given a surface that takes longer than its one second."""
    rng = np.random.default_rng(0)
    soup = Isosurface(rng.random((90000, 3)), rng.integers(0, 90000, (200000, 3)))
    projected = UvAtlas(
        uvs=np.zeros((3, 2)),
        faces=np.array([[0, 1, 2]]),
        vertex_indices=np.arange(3),
        num_charts=1,
    )
    monkeypatch.setattr(module, "box_atlas", lambda surface, texture_size_px: projected)
    assert sys.platform == "win32" or unwrap(soup, texture_size_px=64, budget_s=1) is projected
