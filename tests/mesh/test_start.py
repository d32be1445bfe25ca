import numpy as np
import torch
import trimesh

from dreamfusion_kit.mesh.isosurface import Isosurface
from dreamfusion_kit.mesh.start import start_from


def test_distances_and_colours_of_a_ball() -> None:
    """The colour of the nearest point, and the distance to it, are known in closed form."""
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=0.5)
    surface = Isosurface(np.array(mesh.vertices), np.array(mesh.faces))
    start = start_from(
        surface,
        lambda positions, normals: 0.5 + positions * (normals.norm(dim=1, keepdim=True) - 0.5),
        bounding_radius=0.9,
        device=torch.device("cpu"),
    )
    generator = torch.Generator().manual_seed(0)
    positions = 1.6 * torch.rand(500, 3, generator=generator) - 0.8
    radii = positions.norm(dim=1, keepdim=True)
    assert torch.allclose(start.distances(positions), radii[:, 0] - 0.5, atol=3e-3)
    expected = 0.5 + 0.25 * positions / radii
    assert torch.allclose(start.colors(positions), expected, atol=0.02)
    assert len(start.surface.faces) == len(mesh.faces)


def test_the_moved_surface_has_a_budget_and_the_distances_have_none() -> None:
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=0.5)
    surface = Isosurface(np.array(mesh.vertices), np.array(mesh.faces))
    start = start_from(
        surface,
        lambda positions, normals: torch.full_like(positions, 0.5),
        bounding_radius=0.9,
        device=torch.device("cpu"),
        max_faces=300,
    )
    faces = trimesh.Trimesh(start.surface.vertices.numpy(), start.surface.faces.numpy())
    assert 200 < len(faces.faces) <= 300
    assert faces.is_watertight
    positions = torch.tensor([[0.6, 0.0, 0.0], [0.0, 0.3, 0.0]])
    assert torch.allclose(start.distances(positions), torch.tensor([0.1, -0.2]), atol=3e-3)
