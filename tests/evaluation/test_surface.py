"""Loading, normals and area-weighted points of triangle surfaces."""

from pathlib import Path

import pytest
import torch
import trimesh
from PIL import Image

from dreamfusion_kit import seeding
from dreamfusion_kit.errors import EvaluationError
from dreamfusion_kit.evaluation.surface import (
    Surface,
    is_watertight,
    load_mesh,
    roughness,
    sample_surface,
    smooth_normals,
)

_OBJ = """mtllib mesh.mtl
usemtl skin
v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
vt 0 0
vt 1 0
vt 1 1
vt 0 1
vt 0.5 0.5
f 1/1 2/2 3/3
f 1/5 3/3 4/4
"""


def _write(folder: Path, obj: str) -> Path:
    image = Image.new("RGB", (4, 2), (255, 0, 0))
    image.putpixel((0, 0), (0, 0, 255))
    image.save(folder / "albedo.png")
    (folder / "mesh.mtl").write_text("newmtl skin\nKd 1 1 1\nmap_Kd albedo.png\n")
    (folder / "mesh.obj").write_text(obj)
    return folder / "mesh.obj"


def _surface(mesh: trimesh.Trimesh) -> Surface:
    vertices = torch.from_numpy(mesh.vertices.copy()).float()
    return Surface(vertices, torch.from_numpy(mesh.faces.copy()).long())


def test_load_mesh_reads_positions_z_up_seams_and_texture(tmp_path: Path) -> None:
    mesh = load_mesh(_write(tmp_path, _OBJ))
    corners = mesh.surface.vertices[mesh.surface.faces]
    expected = torch.tensor(
        [[[0.0, 0, 0], [0, 1, 0], [0, 1, 1]], [[0, 0, 0], [0, 1, 1], [0, 0, 1]]]
    )
    assert torch.equal(corners, expected)
    assert mesh.uvs[mesh.surface.faces][:, 0].tolist() == [[0, 0], [0.5, 0.5]]
    assert mesh.texture.shape == (2, 4, 3)
    assert mesh.texture[0, 0].tolist() == [0, 0, 1]


@pytest.mark.parametrize("obj", ["", "v 0 0 0\n", "f 1/1 2/2 3/3\n", "\x00\xff damaged"])
def test_load_mesh_refuses_what_is_no_mesh(tmp_path: Path, obj: str) -> None:
    with pytest.raises(EvaluationError, match=r"mesh\.obj"):
        load_mesh(_write(tmp_path, obj))


def test_load_mesh_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"absent\.obj"):
        load_mesh(tmp_path / "absent.obj")


def test_smooth_normals_of_a_sphere_point_outward_across_seams() -> None:
    sphere = trimesh.creation.icosphere(subdivisions=3, radius=0.5)
    surface = _surface(sphere)
    unmerged = Surface(
        surface.vertices[surface.faces].reshape(-1, 3),
        torch.arange(3 * len(surface.faces)).reshape(-1, 3),
    )
    for candidate in (surface, unmerged):
        expected = candidate.vertices / 0.5
        torch.testing.assert_close(smooth_normals(candidate), expected, atol=0.02, rtol=0)
        assert is_watertight(candidate)


def test_a_hole_is_not_watertight() -> None:
    surface = _surface(trimesh.creation.icosphere(subdivisions=2))
    assert not is_watertight(Surface(surface.vertices, surface.faces[1:]))


def test_points_are_uniform_by_area() -> None:
    # Two triangles of areas 0.5 and 1.5 in the plane: shares 1/4 and 3/4, and the mean of
    # uniform points is the centroid.
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, -3, 0]])
    surface = Surface(vertices, torch.tensor([[0, 1, 2], [0, 3, 1]]))
    points = sample_surface(surface, 40_000, generator=seeding.generator(0, "test"))
    upper = points[:, 1] > 0
    assert upper.float().mean().item() == pytest.approx(0.25, abs=0.01)
    centroid = points[~upper].mean(dim=0)
    torch.testing.assert_close(centroid, torch.tensor([1 / 3, -1.0, 0]), atol=0.02, rtol=0)


def test_points_repeat_with_their_address() -> None:
    surface = _surface(trimesh.creation.box())
    first, again, other = (
        sample_surface(surface, 10, generator=seeding.generator(seed, "points"))
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_no_area_is_an_error() -> None:
    surface = Surface(torch.zeros(3, 3), torch.tensor([[0, 1, 2]]))
    with pytest.raises(EvaluationError, match="zero area"):
        sample_surface(surface, 10, generator=seeding.generator(0, "test"))


@pytest.mark.parametrize("subdivisions", [1, 3])
def test_roughness_is_trimesh_s_angle_by_length_of_edge(subdivisions: int) -> None:
    mesh = trimesh.creation.icosphere(subdivisions)
    draw = seeding.generator(0, "test")
    mesh.vertices += 0.1 * torch.randn(len(mesh.vertices), 3, generator=draw).numpy()
    ends = mesh.vertices[mesh.face_adjacency_edges]
    lengths = ((ends[:, 0] - ends[:, 1]) ** 2).sum(axis=1) ** 0.5
    expected = (mesh.face_adjacency_angles * lengths).sum() / lengths.sum() * 57.29577951308232
    vertices, faces = torch.tensor(mesh.vertices).float(), torch.tensor(mesh.faces)
    assert roughness(Surface(vertices, faces)) == pytest.approx(expected, rel=1e-4)
    # Vertices repeated along texture seams are still neighbours.
    apart = Surface(vertices[faces].reshape(-1, 3), torch.arange(3 * len(faces)).reshape(-1, 3))
    assert roughness(apart) == pytest.approx(expected, rel=1e-4)


def test_a_cube_is_as_rough_as_its_edges() -> None:
    cube = trimesh.creation.box()
    edges, diagonals = 12 * 1.0, 6 * 2**0.5
    surface = Surface(torch.tensor(cube.vertices).float(), torch.tensor(cube.faces))
    assert roughness(surface) == pytest.approx(90 * edges / (edges + diagonals), rel=1e-4)
    assert roughness(Surface(surface.vertices, surface.faces[:1])) == 0
