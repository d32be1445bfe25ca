from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from dreamfusion_kit.camera.rays import pixel_rays
from dreamfusion_kit.open3d_library import open3d
from dreamfusion_kit.records import Cameras, Surface
from dreamfusion_kit.renderer.mesh.visibility import visible_faces


def _embree(surface: Surface, cameras: Cameras) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first face and its distance by Open3D's ray casting; -1 and infinity if none."""
    scene = open3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        open3d.core.Tensor.from_numpy(surface.vertices.numpy()),
        open3d.core.Tensor.from_numpy(surface.faces.numpy().astype(np.uint32)),
    )
    rays = pixel_rays(cameras)
    bundle = torch.cat([rays.origins, rays.directions], dim=-1).contiguous()
    answer = scene.cast_rays(open3d.core.Tensor.from_numpy(bundle.numpy()))
    distance = torch.from_numpy(answer["t_hit"].numpy())
    face = torch.from_numpy(answer["primitive_ids"].numpy().astype(np.int64))
    return torch.where(distance.isfinite(), face, -1), distance


@pytest.mark.parametrize("name", ["sphere", "cube", "torus"])
def test_equals_embree_on_closed_shapes(
    name: str, shape: Callable[[str], Surface], camera: Callable[..., Cameras]
) -> None:
    surface, cameras = shape(name), camera(96, 20.0, 200.0)
    found = visible_faces(surface, cameras)
    expected, _ = _embree(surface, cameras)
    assert torch.equal(found.mask, expected >= 0)
    assert 0.2 < float(found.mask.float().mean()) < 0.8
    # A ray through an edge may give either face.
    assert float((found.face != expected).float().mean()) < 1e-3


def test_equals_embree_among_triangles_all_around(camera: Callable[..., Cameras]) -> None:
    """Some are behind the camera, some reach from behind it to in front of it."""
    generator = torch.Generator().manual_seed(0)
    centres = 8 * torch.rand(300, 1, 3, generator=generator) - 4
    corners = centres + 2 * torch.rand(300, 3, 3, generator=generator) - 1
    surface = Surface(corners.reshape(-1, 3), torch.arange(900).reshape(-1, 3))
    cameras = camera(64, 20.0)
    expected, _ = _embree(surface, cameras)
    found = visible_faces(surface, cameras).face
    assert float((found != expected).float().mean()) < 2e-3


def test_no_ray_passes_between_neighbours(shape: Callable[[str], Surface]) -> None:
    """A finely divided wall in front of the camera fills every pixel."""
    ticks = torch.linspace(-3, 3, 80)
    y, z = torch.meshgrid(ticks, ticks, indexing="ij")
    vertices = torch.stack([torch.zeros_like(y), y, z], dim=-1).reshape(-1, 3)
    index = torch.arange(80 * 80).reshape(80, 80)
    a, b, c, d = index[:-1, :-1], index[1:, :-1], index[1:, 1:], index[:-1, 1:]
    faces = torch.cat([torch.stack(t, dim=-1).reshape(-1, 3) for t in ((a, b, c), (a, c, d))])
    torch.manual_seed(0)
    vertices[:, 0] += 0.05 * torch.rand(len(vertices))
    cameras = Cameras(
        camera_to_world=torch.tensor([[[0.0, 0, 1, 2], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]]),
        fov_y_deg=torch.tensor([40.0]),
        azimuth_deg=torch.zeros(1),
        elevation_deg=torch.zeros(1),
        radius=torch.full((1,), 2.0),
        height_px=200,
        width_px=200,
    )
    assert visible_faces(Surface(vertices, faces), cameras).mask.all()


def test_the_size_of_chunks_decides_nothing(
    shape: Callable[[str], Surface], camera: Callable[..., Cameras]
) -> None:
    surface, cameras = shape("torus"), camera(64, 20.0, 90.0)
    whole = visible_faces(surface, cameras).face
    assert torch.equal(visible_faces(surface, cameras, pairs_at_once=50).face, whole)


def test_a_picture_may_be_wide_and_a_surface_empty(
    shape: Callable[[str], Surface], camera: Callable[..., Cameras]
) -> None:
    cameras = replace(camera(48), width_px=80)
    surface = shape("cube")
    expected, _ = _embree(surface, cameras)
    assert torch.equal(visible_faces(surface, cameras).mask, expected >= 0)
    nothing = Surface(surface.vertices, surface.faces[:0])
    assert not visible_faces(nothing, cameras).mask.any()
