import itertools
import math
from collections.abc import Callable

import pytest
import torch
import trimesh
from torch import Tensor

from dreamfusion_kit.records import Surface
from dreamfusion_kit.shape.lattice import lattice
from dreamfusion_kit.shape.tetrahedra import marching_tetrahedra


def _extracted(distance: Callable[[Tensor], Tensor], resolution: int = 40) -> Surface:
    positions = lattice(resolution, 1.0)
    return marching_tetrahedra(distance(positions), positions)


def _trimesh(surface: Surface) -> trimesh.Trimesh:
    return trimesh.Trimesh(surface.vertices.detach().numpy(), surface.faces.numpy(), process=False)


def test_a_ball_is_closed_turned_outwards_and_of_its_size() -> None:
    mesh = _trimesh(_extracted(lambda p: p.norm(dim=-1) - 0.6))
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.euler_number == 2
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.6**3, rel=0.01)
    assert mesh.area == pytest.approx(4 * math.pi * 0.36, rel=0.01)


def test_a_torus_has_a_hole() -> None:
    def torus(p: Tensor) -> Tensor:
        ring = p[..., :2].norm(dim=-1) - 0.6
        return (ring.square() + p[..., 2].square()).sqrt() - 0.2

    mesh = _trimesh(_extracted(torus))
    assert mesh.is_watertight
    assert mesh.euler_number == 0


def test_every_case_of_signs_gives_a_closed_surface() -> None:
    """All 256 signs of a cell's corners, inside a border that is outside."""
    corners = list(itertools.product((1, 2), repeat=3))
    positions = lattice(4, 1.0)
    for signs in itertools.product((-1.0, 1.0), repeat=8):
        distances = torch.ones(4, 4, 4)
        for (i, j, k), sign in zip(corners, signs, strict=True):
            distances[i, j, k] = sign
        surface = marching_tetrahedra(distances, positions)
        if min(signs) > 0:
            assert len(surface.faces) == 0
            continue
        mesh = _trimesh(surface)
        assert mesh.is_watertight
        assert mesh.is_winding_consistent
        assert mesh.volume > 0


def test_random_signs_give_a_closed_surface() -> None:
    distances = torch.randn(12, 12, 12, generator=torch.Generator().manual_seed(0))
    inner = torch.zeros(12, 12, 12, dtype=torch.bool)
    inner[1:-1, 1:-1, 1:-1] = True
    distances = torch.where(inner, distances, distances.abs())
    mesh = _trimesh(marching_tetrahedra(distances, lattice(12, 1.0)))
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume > 0


def test_vertices_lie_on_a_plane_to_rounding() -> None:
    """Distances that are linear are met exactly by linear interpolation."""
    normal = torch.nn.functional.normalize(torch.tensor([1.0, 2.0, -0.5]), dim=0)
    surface = _extracted(lambda p: p @ normal - 0.1)
    inside = surface.vertices.abs().amax(dim=1) < 0.94
    assert inside.sum() > 100
    assert torch.allclose(surface.vertices[inside] @ normal, torch.tensor(0.1), atol=1e-5)


def test_gradients_in_distances_and_positions() -> None:
    generator = torch.Generator().manual_seed(0)
    distances = torch.randn(4, 4, 4, generator=generator, dtype=torch.float64).abs() + 0.1
    distances[1:3, 1:3, 1:3] *= -1
    positions = lattice(4, 1.0).double()
    weights = torch.randn(500, 3, generator=generator, dtype=torch.float64)

    def value(s: Tensor, x: Tensor) -> Tensor:
        vertices = marching_tetrahedra(s, x).vertices
        return (vertices * weights[: len(vertices)]).sum()

    inputs = (distances.requires_grad_(), positions.requires_grad_())
    assert torch.autograd.gradcheck(value, inputs)
