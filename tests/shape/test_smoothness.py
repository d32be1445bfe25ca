import math

import numpy as np
import pytest
import torch
import trimesh

from dreamfusion_kit.records import Surface
from dreamfusion_kit.shape.adjacency import shared_edges
from dreamfusion_kit.shape.smoothness import edge_length, laplacian, normal_consistency


def _surface(mesh: trimesh.Trimesh) -> Surface:
    vertices = torch.tensor(np.array(mesh.vertices))
    return Surface(vertices, torch.tensor(np.array(mesh.faces)))


def test_a_cubes_edges_are_its_twelve_and_six_diagonals() -> None:
    """12 edges of 90 degrees, and 6 diagonals of length sqrt 2 between coplanar faces."""
    cube = _surface(trimesh.creation.box((1, 1, 1)))
    edges = shared_edges(cube.faces)
    expected = 12 / (12 + 6 * math.sqrt(2))
    assert len(edges.ends) == 18
    assert float(normal_consistency(cube, edges)) == pytest.approx(expected)


def test_angles_are_trimeshs() -> None:
    mesh = trimesh.creation.torus(0.5, 0.2, major_sections=20, minor_sections=12)
    surface = _surface(mesh)
    cosine = np.cos(mesh.face_adjacency_angles)
    lengths = np.linalg.norm(np.subtract(*mesh.vertices[mesh.face_adjacency_edges.T]), axis=1)
    expected = ((1 - cosine) * lengths).sum() / lengths.sum()
    found = normal_consistency(surface, shared_edges(surface.faces))
    assert float(found) == pytest.approx(expected, rel=1e-6)


def test_penalties_do_not_depend_on_size() -> None:
    small = _surface(trimesh.creation.icosphere(subdivisions=2))
    large = Surface(7 * small.vertices, small.faces)
    edges = shared_edges(small.faces)
    for penalty in (normal_consistency, laplacian, edge_length):
        assert float(penalty(large, edges)) == pytest.approx(float(penalty(small, edges)))


def test_noise_is_dearer_than_a_smooth_surface() -> None:
    smooth = _surface(trimesh.creation.icosphere(subdivisions=3))
    noise = torch.randn(smooth.vertices.shape, generator=torch.Generator().manual_seed(0))
    rough = Surface(smooth.vertices + 0.02 * noise, smooth.faces)
    edges = shared_edges(smooth.faces)
    for penalty in (normal_consistency, laplacian, edge_length):
        assert float(penalty(rough, edges)) > 1.5 * float(penalty(smooth, edges))


def test_gradients() -> None:
    ball = _surface(trimesh.creation.icosphere(subdivisions=1))
    noise = torch.randn(ball.vertices.shape, generator=torch.Generator().manual_seed(1))
    vertices = (ball.vertices + 0.05 * noise).requires_grad_()
    edges = shared_edges(ball.faces)
    for penalty in (normal_consistency, laplacian, edge_length):
        (gradient,) = torch.autograd.grad(penalty(Surface(vertices, ball.faces), edges), vertices)
        assert gradient.isfinite().all()
        assert float(gradient.norm()) > 0


def test_a_surface_without_neighbours_has_no_penalty() -> None:
    vertices = torch.eye(3, requires_grad=True)
    one = Surface(vertices, torch.tensor([[0, 1, 2]]))
    edges = shared_edges(one.faces)
    assert len(edges.ends) == 0
    total = sum(float(p(one, edges).detach()) for p in (normal_consistency, laplacian, edge_length))
    assert total == 0
