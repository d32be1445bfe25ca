from collections.abc import Callable

import numpy as np
import torch
import trimesh

from dreamfusion_kit.camera.rays import pixel_rays
from dreamfusion_kit.records import Cameras, Surface
from dreamfusion_kit.renderer.mesh.points import surface_points, vertex_normals
from dreamfusion_kit.renderer.mesh.visibility import visible_faces


def test_vertex_normals_weigh_the_faces_around_by_area(shape: Callable[[str], Surface]) -> None:
    surface = shape("torus")
    mesh = trimesh.Trimesh(surface.vertices.numpy(), surface.faces.numpy(), process=False)
    weighted = mesh.face_normals * mesh.area_faces[:, None]
    expected = np.zeros((len(mesh.vertices), 3))
    for corner in range(3):
        np.add.at(expected, mesh.faces[:, corner], weighted)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.allclose(vertex_normals(surface).numpy(), expected, atol=1e-4)


def test_points_lie_on_their_rays_and_faces(
    shape: Callable[[str], Surface], camera: Callable[..., Cameras]
) -> None:
    surface, cameras = shape("torus"), camera(48, 20.0, 110.0)
    rays = pixel_rays(cameras)
    visible = visible_faces(surface, cameras)
    points = surface_points(surface, visible, rays, normals="smooth")
    origins = rays.origins.reshape(-1, 3)[points.pixel]
    directions = rays.directions.reshape(-1, 3)[points.pixel]
    towards = torch.nn.functional.normalize(points.positions - origins, dim=-1)
    assert torch.allclose(towards, directions, atol=1e-5)
    assert torch.allclose(points.barycentric.sum(dim=-1), torch.tensor(1.0), atol=1e-5)
    assert float(points.barycentric.min()) > -1e-3
    assert torch.equal(points.image, points.pixel // (48 * 48))
    corners = surface.vertices[surface.faces]
    assert torch.equal(points.interpolated(corners), points.positions)
    assert torch.allclose(points.normals.norm(dim=-1), torch.tensor(1.0), atol=1e-5)
