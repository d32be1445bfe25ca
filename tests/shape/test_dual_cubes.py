"""Surfaces of known shape, of random signs, and gradients against differences."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
import trimesh
from torch import Tensor

from dreamfusion_kit.records import Surface
from dreamfusion_kit.shape.dual_cubes import CellWeights, dual_marching_cubes
from dreamfusion_kit.shape.lattice import lattice

Distance = Callable[[Tensor], Tensor]


def _extracted(distance: Distance, resolution: int = 40) -> Surface:
    positions = lattice(resolution, 1.0)
    return dual_marching_cubes(distance(positions), positions).surface


def _trimesh(surface: Surface) -> trimesh.Trimesh:
    return trimesh.Trimesh(surface.vertices.detach().numpy(), surface.faces.numpy(), process=False)


def _edges_have_two_faces(surface: Surface) -> bool:
    faces = surface.faces
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    directed = torch.unique(edges, dim=0)
    undirected, counts = torch.unique(edges.sort(dim=1).values, dim=0, return_counts=True)
    return len(directed) == len(edges) == 2 * len(undirected) and bool((counts == 2).all())


def _random_weights(resolution: int, generator: torch.Generator) -> CellWeights:
    def positive(*shape: int) -> Tensor:
        return 0.2 + 1.6 * torch.rand(*shape, generator=generator)

    cells = (resolution - 1) ** 3
    return CellWeights(positive(cells, 8), positive(cells, 12), positive(cells))


def test_a_ball_is_closed_turned_outwards_and_of_its_size() -> None:
    mesh = _trimesh(_extracted(lambda p: p.norm(dim=-1) - 0.6))
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.euler_number == 2
    assert mesh.volume == pytest.approx(4 / 3 * math.pi * 0.6**3, rel=0.01)
    assert mesh.area == pytest.approx(4 * math.pi * 0.36, rel=0.01)
    centers = mesh.triangles_center
    outward = (mesh.face_normals * centers).sum(axis=1) / (centers**2).sum(axis=1) ** 0.5
    assert outward.min() > 0.9


def test_a_torus_has_a_hole() -> None:
    def torus(p: Tensor) -> Tensor:
        ring = p[..., :2].norm(dim=-1) - 0.6
        return (ring.square() + p[..., 2].square()).sqrt() - 0.2

    assert _trimesh(_extracted(torus)).euler_number == 0


def test_a_flat_face_of_any_direction_is_flat() -> None:
    """Dual vertices of a plane lie on it, whatever the lattice; the rest of the box does not."""
    normal = torch.nn.functional.normalize(torch.tensor([1.0, 2.0, 0.5]), dim=0)
    box = lattice(24, 1.0).abs().amax(dim=-1) - 0.7
    positions = lattice(24, 1.0)
    distances = torch.maximum(positions @ normal - 0.2, box)
    found = dual_marching_cubes(distances, positions).surface.vertices
    deep = (found.abs().amax(dim=1) < 0.55) & ((found @ normal) > 0.1)
    assert deep.sum() > 100
    assert torch.allclose(found[deep] @ normal, torch.tensor(0.2), atol=1e-5)


def test_every_case_of_signs_gives_a_closed_surface() -> None:
    """All 256 signs of a cell's corners, inside a border that is outside."""
    corners = list(itertools.product((1, 2), repeat=3))
    positions = lattice(4, 1.0)
    for signs in itertools.product((-1.0, 1.0), repeat=8):
        distances = torch.ones(4, 4, 4)
        for (i, j, k), sign in zip(corners, signs, strict=True):
            distances[i, j, k] = sign
        surface = dual_marching_cubes(distances, positions).surface
        if min(signs) > 0:
            assert len(surface.faces) == 0
            continue
        assert _edges_have_two_faces(surface)
        assert _trimesh(surface).volume > 0


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_random_signs_give_a_manifold(share: float) -> None:
    """Noise has every pair of neighbouring cases, those pinched on both sides included.

    A manifold has one fan of faces around each vertex: as many as edges, all connected.
    """
    generator = torch.Generator().manual_seed(0)
    resolution = 14
    distances = torch.rand(3 * (resolution,), generator=generator) - share
    distances[0] = distances[-1] = distances[:, 0] = 1.0
    distances[:, -1] = distances[:, :, 0] = distances[:, :, -1] = 1.0
    weights = _random_weights(resolution, generator)
    positions = lattice(resolution, 1.0)
    surface = dual_marching_cubes(distances, positions, weights).surface
    assert len(surface.faces) > 5000
    assert _edges_have_two_faces(surface)
    following = dict[tuple[int, int], int]()
    for a, b, c in surface.faces.tolist():
        for vertex, first, second in ((a, b, c), (b, c, a), (c, a, b)):
            following[vertex, first] = second
    around = dict[int, set[int]]()
    for vertex, first in following:
        around.setdefault(vertex, set()).add(first)
    for vertex, ring in around.items():
        start = at = next(iter(ring))
        walked = {at}
        while (at := following[vertex, at]) != start:
            walked.add(at)
        assert walked == ring


def test_without_a_sign_change_there_is_nothing() -> None:
    found = dual_marching_cubes(torch.ones(5, 5, 5), lattice(5, 1.0))
    assert len(found.surface.faces) == 0
    assert float(found.deviation) == 0


def test_weights_of_one_change_nothing() -> None:
    positions = lattice(12, 1.0)
    distances = positions.norm(dim=-1) - 0.6
    ones = CellWeights(torch.ones(11**3, 8), torch.ones(11**3, 12), torch.ones(11**3))
    plain = dual_marching_cubes(distances, positions)
    weighted = dual_marching_cubes(distances, positions, ones)
    assert torch.equal(plain.surface.faces, weighted.surface.faces)
    assert torch.allclose(plain.surface.vertices, weighted.surface.vertices, atol=1e-6)


def test_edge_weights_bring_a_vertex_to_the_corner_of_a_cube() -> None:
    """Plain dual marching cubes cuts corners; the corner is within reach of beta and alpha."""
    positions = lattice(6, 1.0).double()
    distances = (positions - 0.13).abs().amax(dim=-1) - 0.5
    raw = torch.zeros(125, 20, dtype=torch.float64, requires_grad=True)
    corner = torch.tensor([0.63, 0.63, 0.63], dtype=torch.float64)
    optimizer = torch.optim.Adam([raw], lr=0.1)
    apart = list[float]()
    for _ in range(200):
        alpha, beta = (1.01 + raw.tanh()).split([8, 12], dim=1)
        weights = CellWeights(alpha, beta, torch.ones(125, dtype=torch.float64))
        surface = dual_marching_cubes(distances, positions, weights).surface
        distance = (surface.vertices - corner).norm(dim=1).amin()
        apart.append(float(distance.detach()))
        optimizer.zero_grad()
        distance.backward()
        optimizer.step()
    assert apart[0] > 0.03
    assert min(apart) < 0.2 * apart[0]


def test_deviation_is_that_of_its_definition() -> None:
    """A lone inside point of a lattice: eight vertices, each with three crossings."""
    distances = torch.ones(3, 3, 3)
    distances[1, 1, 1] = -1.0
    assert float(dual_marching_cubes(distances, lattice(3, 1.0)).deviation) == pytest.approx(0.0)
    distances[2, 1, 1] = 3.0  # one crossing of four vertices moves from 1/2 to 1/4
    u = torch.tensor([[0.25, 0, 0], [0, 0.5, 0], [0, 0, 0.5]])
    apart = (u - u.mean(dim=0)).norm(dim=1)
    expected = float((apart - apart.mean()).abs().mean()) / 2
    found = dual_marching_cubes(distances, lattice(3, 1.0)).deviation
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_gradients_are_those_of_differences() -> None:
    generator = torch.Generator().manual_seed(1)
    resolution = 6
    positions = lattice(resolution, 1.0).double()
    distances = positions.norm(dim=-1) - 0.55
    cells = (resolution - 1) ** 3
    alpha, beta, gamma = (
        0.5 + torch.rand(cells, *shape, generator=generator, dtype=torch.float64)
        for shape in ((8,), (12,), ())
    )
    push = torch.randn(10_000, 3, generator=generator, dtype=torch.float64)

    def value(s: Tensor, x: Tensor, a: Tensor, b: Tensor, g: Tensor) -> Tensor:
        found = dual_marching_cubes(s, x, CellWeights(a, b, g))
        vertices = found.surface.vertices
        return (vertices * push[: len(vertices)]).sum() + 3 * found.deviation

    inputs = [v.requires_grad_() for v in (distances, positions, alpha, beta, gamma)]
    assert torch.autograd.gradcheck(value, inputs, eps=1e-6, fast_mode=True)
