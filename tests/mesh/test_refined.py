from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from dreamfusion_kit.errors import MeshError
from dreamfusion_kit.mesh.export import write_mesh
from dreamfusion_kit.mesh.refined import FIELD_FACTS, bake_refined, read_surface
from dreamfusion_kit.recipe.schema import MeshSection
from dreamfusion_kit.records import Surface

CPU = torch.device("cpu")
FACTS = dict.fromkeys(FIELD_FACTS, 1.0)


def _sorted_rows(vertices: np.ndarray) -> np.ndarray:
    rounded = np.round(np.asarray(vertices, dtype=np.float64), 5)
    return np.asarray(vertices)[np.lexsort(rounded.T)]


def _ball() -> Surface:
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=0.5)
    vertices = torch.tensor(np.array(mesh.vertices), dtype=torch.float32)
    return Surface(vertices, torch.tensor(np.array(mesh.faces)))


def test_a_surface_is_baked_and_read_back(section: MeshSection, tmp_path: Path) -> None:
    mesh = bake_refined(_ball(), lambda p: 0.5 + p / 2, section, facts=FACTS, device=CPU)
    assert mesh.facts["watertight"] is True
    assert mesh.facts["components"] == 1
    assert mesh.facts["density_threshold"] == 1.0
    expected = np.rint(255 * (0.5 + mesh.surface.vertices / 2))
    assert np.abs(mesh.vertex_colors - expected).max() <= 1
    write_mesh(tmp_path, mesh, name="ball", formats=["obj"], provenance={})
    again = read_surface(tmp_path / "mesh.obj")
    assert len(again.vertices) == len(mesh.surface.vertices)
    assert trimesh.Trimesh(again.vertices, again.faces, process=False).is_watertight
    assert _sorted_rows(again.vertices) == pytest.approx(
        _sorted_rows(mesh.surface.vertices), abs=1e-6
    )


def test_a_vanished_surface_and_a_damaged_file_are_refused(
    section: MeshSection, tmp_path: Path
) -> None:
    empty = Surface(torch.zeros(3, 3), torch.zeros(0, 3, dtype=torch.int64))
    with pytest.raises(MeshError, match="no faces"):
        bake_refined(empty, lambda p: p, section, facts=FACTS, device=CPU)
    (tmp_path / "mesh.obj").write_text("v 1 2\nf 1 2 9\n")
    with pytest.raises(MeshError, match=r"mesh\.obj: cannot be read as a mesh"):
        read_surface(tmp_path / "mesh.obj")
