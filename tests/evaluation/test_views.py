"""Views of a sphere and of a square against closed forms."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
import trimesh

from dreamfusion_kit.camera.light import headlight
from dreamfusion_kit.camera.sampler import orbit_cameras
from dreamfusion_kit.evaluation.geometry import true_surface
from dreamfusion_kit.evaluation.surface import Surface, TexturedMesh
from dreamfusion_kit.evaluation.views import (
    mesh_renderer,
    render_images,
    render_turntable,
    render_views,
)
from dreamfusion_kit.recipe.evaluation import TurntableSection, ViewsSection
from dreamfusion_kit.records import Cameras, RenderOutput
from dreamfusion_kit.toybox.render import render_scene
from dreamfusion_kit.toybox.shapes import BOUNDING_RADIUS, scene

_RADIUS, _DISTANCE, _FOV_Y_DEG = 0.6, 2.4, 45.0
_ALBEDO = torch.tensor([0.8, 0.4, 0.2])


def _protocol(**changes: object) -> ViewsSection:
    views = ViewsSection(
        num_azimuths=4,
        elevation_deg=30.0,
        radius=_DISTANCE,
        fov_y_deg=_FOV_Y_DEG,
        image_size_px=48,
        supersampling=2,
        background=(0.1, 0.2, 0.3),
        ambient=0.4,
        diffuse=0.6,
        normals="smooth",
    )
    return views.model_copy(update=changes)


def _sphere(subdivisions: int = 6) -> TexturedMesh:
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions, radius=_RADIUS)
    vertices = torch.from_numpy(mesh.vertices.copy()).float()
    surface = Surface(vertices, torch.from_numpy(mesh.faces.copy()).long())
    return TexturedMesh(surface, torch.zeros(len(vertices), 2), _ALBEDO.expand(4, 4, 3))


def _square() -> TexturedMesh:
    """A unit square in the plane x = 0 that faces +x, with a 2 x 2 texture."""
    vertices = torch.tensor([[0, -0.5, -0.5], [0, 0.5, -0.5], [0, 0.5, 0.5], [0, -0.5, 0.5]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    uvs = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    texture = torch.tensor([[[1.0, 0, 0], [0, 1, 0]], [[0, 0, 1], [1, 1, 0]]])
    return TexturedMesh(Surface(vertices, faces), uvs, texture)


def _camera(size: int, azimuth_deg: float = 0.0, elevation_deg: float = 30.0) -> Cameras:
    return orbit_cameras(
        torch.tensor([azimuth_deg]),
        elevation_deg=elevation_deg,
        radius=_DISTANCE,
        fov_y_deg=_FOV_Y_DEG,
        image_size_px=size,
    )


def _render(mesh: TexturedMesh, cameras: Cameras, *, textureless: bool = False) -> RenderOutput:
    size = cameras.height_px
    lighting = headlight(cameras, ambient=0.4, diffuse=0.6, textureless=textureless)
    background = torch.full((len(cameras.radius), size, size, 3), 0.5)
    return mesh_renderer(mesh, normals="smooth")(cameras, lighting, background)


def test_silhouette_has_the_area_of_the_tangent_cone() -> None:
    size = 200
    output = _render(_sphere(), _camera(size))
    focal_px = 0.5 * size / math.tan(math.radians(_FOV_Y_DEG / 2))
    radius_px = focal_px * math.tan(math.asin(_RADIUS / _DISTANCE))
    assert output.opacity.sum().item() == pytest.approx(math.pi * radius_px**2, rel=5e-3)


def test_depth_and_shading_follow_the_sphere_in_every_pixel() -> None:
    size = 64
    output = _render(_sphere(), _camera(size))
    # In the camera's frame: the centre lies at distance D on the axis of view.
    ticks = (torch.arange(size, dtype=torch.float64) + 0.5 - size / 2) * (2 / size)
    half = math.tan(math.radians(_FOV_Y_DEG / 2))
    y, x = torch.meshgrid(ticks * half, ticks * half, indexing="ij")
    cosine = 1 / (x**2 + y**2 + 1).sqrt()
    discriminant = _RADIUS**2 - _DISTANCE**2 * (1 - cosine**2)
    inner = discriminant > 0.02  # away from the rim, where the facets show
    depth = _DISTANCE * cosine - discriminant.sqrt()
    torch.testing.assert_close(output.depth[0][inner].double(), depth[inner], atol=1e-3, rtol=0)
    n_dot_l = discriminant.sqrt() / _RADIUS  # the light is the camera, so l is minus the ray
    expected = (0.4 + 0.6 * n_dot_l[inner])[:, None] * _ALBEDO
    torch.testing.assert_close(output.image[0][inner].double(), expected, atol=3e-3, rtol=0)
    assert torch.equal(output.image[0][discriminant < -0.02].unique(), torch.tensor([0.5]))


def test_textureless_shows_white_under_the_same_light() -> None:
    camera = _camera(33)
    color = _render(_sphere(4), camera).image[0, 16, 16]
    white = _render(_sphere(4), camera, textureless=True).image[0, 16, 16]
    torch.testing.assert_close(color, white * _ALBEDO)
    torch.testing.assert_close(white, torch.ones(3), atol=2e-3, rtol=0)  # head-on: 0.4 + 0.6


def test_normals_point_at_the_camera_in_the_middle() -> None:
    camera = _camera(33, azimuth_deg=70.0)
    normal = _render(_sphere(4), camera).normals[0, 16, 16]
    torch.testing.assert_close(normal, camera.positions[0] / _DISTANCE, atol=0.02, rtol=0)


def test_texture_stands_upright_and_is_not_mirrored() -> None:
    # From +x the camera sees +y on its right: u grows to the right, v upwards.
    image = _render(_square(), _camera(64, elevation_deg=0.0), textureless=False).image[0]
    inset = 21  # inside the square's corners, where the texture's border is repeated
    corners = [image[r, c] for r in (inset, -1 - inset) for c in (inset, -1 - inset)]
    brightest = [corner / corner.max() for corner in corners]
    expected = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
    torch.testing.assert_close(torch.stack(brightest), expected, atol=0.25, rtol=0)
    middle = image[31:33, 31:33].mean(dim=(0, 1))
    torch.testing.assert_close(middle, torch.tensor([0.5, 0.5, 0.25]), atol=0.02, rtol=0)


def test_back_faces_answer_the_ambient_light_alone() -> None:
    image = _render(_square(), _camera(33, azimuth_deg=180.0, elevation_deg=0.0), textureless=True)
    torch.testing.assert_close(image.image[0, 16, 16], torch.full((3,), 0.4))


def test_face_normals_are_constant_on_a_triangle() -> None:
    box = trimesh.creation.box(extents=(1.0, 1.0, 1.0))
    surface = Surface(
        torch.from_numpy(box.vertices.copy()).float(), torch.from_numpy(box.faces.copy()).long()
    )
    mesh = TexturedMesh(surface, torch.zeros(8, 2), torch.ones(2, 2, 3))
    cameras = _camera(32, elevation_deg=0.0)
    lighting = headlight(cameras, ambient=0.4, diffuse=0.6, textureless=True)
    output = mesh_renderer(mesh, normals="face")(cameras, lighting, torch.zeros(1, 32, 32, 3))
    hit = output.opacity[0] > 0
    expected = torch.tensor([1.0, 0, 0]).expand(int(hit.sum()), 3)
    torch.testing.assert_close(output.normals[0][hit], expected, atol=1e-5, rtol=0)


def test_views_share_the_protocol_and_start_at_the_front() -> None:
    protocol = _protocol()
    views = render_views(mesh_renderer(_square(), normals="face"), protocol, supersampling=2)
    assert views.color.shape == views.normals.shape == (4, 48, 48, 3)
    torch.testing.assert_close(views.color[0, 0, 0], torch.tensor([0.1, 0.2, 0.3]))
    # The square faces the first camera: its normal (1, 0, 0) shows as (1, 0.5, 0.5).
    torch.testing.assert_close(views.normals[0, 24, 24], torch.tensor([1.0, 0.5, 0.5]))
    assert views.textureless[0, 24, 24].min() > views.textureless[2, 24, 24].max()


def test_supersampling_makes_fractional_coverage() -> None:
    protocol = _protocol(num_azimuths=1, background=(0.0, 0.0, 0.0), ambient=1.0, diffuse=0.0)
    renderer = mesh_renderer(_sphere(5), normals="smooth")
    coarse, fine = (
        render_views(renderer, protocol, supersampling=factor).textureless for factor in (1, 4)
    )
    assert coarse.unique().numel() == 2
    assert fine.unique().numel() > 4
    focal_px = 24 / math.tan(math.radians(_FOV_Y_DEG / 2))
    area = math.pi * (focal_px * math.tan(math.asin(_RADIUS / _DISTANCE))) ** 2
    assert fine[..., 0].sum().item() == pytest.approx(area, rel=5e-3)


def test_render_images_equals_the_views_of_a_full_renderer() -> None:
    renderer, protocol = mesh_renderer(_sphere(3), normals="smooth"), _protocol()
    views = render_views(renderer, protocol, supersampling=2)
    images = render_images(
        lambda *inputs: renderer(*inputs).image, protocol, textureless=True, supersampling=2
    )
    assert torch.equal(images, views.textureless)


def test_a_meshed_solid_looks_like_its_sphere_traced_self() -> None:
    solid = scene("rocket", "red")
    surface = true_surface(solid.distances, BOUNDING_RADIUS, resolution=96)
    uvs = torch.zeros(len(surface.vertices), 2)
    renderer = mesh_renderer(TexturedMesh(surface, uvs, torch.ones(2, 2, 3)), normals="smooth")
    protocol = _protocol(num_azimuths=2)
    expected = render_images(
        lambda *inputs: render_scene(solid, *inputs)[0], protocol, textureless=True, supersampling=1
    )
    views = render_views(renderer, protocol, supersampling=2)
    difference = (views.textureless - expected).abs()
    assert difference.mean() < 5e-3
    assert (difference > 0.15).float().mean() < 5e-3


def test_turntable_has_its_own_size_and_number() -> None:
    turntable = TurntableSection(num_frames=5, image_size_px=32, frame_duration_ms=80)
    frames = render_turntable(
        mesh_renderer(_square(), normals="face"), _protocol(), turntable, supersampling=1
    )
    assert frames.shape == (5, 32, 32, 3)


def test_no_global_generator_is_drawn_from(
    no_global_draws: Callable[[], AbstractContextManager[None]],
) -> None:
    turntable = TurntableSection(num_frames=2, image_size_px=16, frame_duration_ms=80)
    renderer = mesh_renderer(_square(), normals="face")
    with no_global_draws():
        render_turntable(renderer, _protocol(), turntable, supersampling=2)
