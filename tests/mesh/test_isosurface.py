"""Marching cubes against closed forms."""

import numpy as np
import pytest
import torch
import trimesh

from dreamfusion_kit.mesh.density_grid import sample_density_grid
from dreamfusion_kit.mesh.isosurface import extract_isosurface


def isosurface(densities, cpu, *, threshold=25.0, resolution=64, bounding_radius=1.0):
    grid = sample_density_grid(
        densities, bounding_radius=bounding_radius, resolution=resolution, device=cpu
    )
    surface = extract_isosurface(grid, threshold)
    return trimesh.Trimesh(surface.vertices, surface.faces, process=False)


def test_sphere_has_its_area_and_volume(cpu, solid, sphere):
    mesh = isosurface(solid(sphere(0.6)), cpu)
    assert mesh.area == pytest.approx(4 * np.pi * 0.6**2, rel=0.01)
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 0.6**3, rel=0.01)


def test_sphere_is_closed_and_has_no_handle(cpu, solid, sphere):
    mesh = isosurface(solid(sphere(0.6)), cpu)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.euler_number == 2


def test_torus_has_one_handle(cpu, solid):
    def distance(positions):
        ring = positions[:, :2].norm(dim=-1) - 0.55
        return torch.stack([ring, positions[:, 2]], dim=-1).norm(dim=-1) - 0.2

    mesh = isosurface(solid(distance), cpu)
    assert mesh.euler_number == 0
    assert mesh.volume == pytest.approx(2 * np.pi**2 * 0.55 * 0.2**2, rel=0.02)


def test_faces_look_outwards(cpu, solid, sphere):
    mesh = isosurface(solid(sphere(0.6)), cpu)
    outward = mesh.triangles_center / np.linalg.norm(mesh.triangles_center, axis=1)[:, None]
    has_extent = mesh.area_faces > 1e-9
    assert (mesh.face_normals * outward).sum(axis=1)[has_extent].min() > 0.5


def test_coordinates_are_world_coordinates(cpu, solid, sphere):
    center = (0.4, -0.2, 0.6)
    mesh = isosurface(solid(sphere(0.5, center)), cpu, bounding_radius=2.0)
    np.testing.assert_allclose(mesh.center_mass, center, atol=5e-3)


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_vertices_lie_on_the_sphere(cpu, solid, sphere, scale):
    mesh = isosurface(solid(sphere(0.6), scale=scale), cpu, threshold=scale / 2)
    error = np.linalg.norm(mesh.vertices, axis=1) - 0.6
    spacing = 2 / 63
    assert np.abs(error).max() < 0.1 * spacing


def test_a_field_that_fills_its_ball_is_still_closed(cpu):
    mesh = isosurface(lambda positions: torch.full((len(positions),), 50.0), cpu)
    assert mesh.is_watertight
    assert mesh.euler_number == 2
