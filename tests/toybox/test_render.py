"""Sphere-traced renders against closed forms of a ball."""

import math

import pytest
import torch

from dreamfusion_kit.camera.light import albedo_lighting, headlight
from dreamfusion_kit.camera.sampler import orbit_cameras
from dreamfusion_kit.records import Cameras
from dreamfusion_kit.toybox.render import render_premultiplied, render_scene, surface_normals
from dreamfusion_kit.toybox.shapes import COLORS, scene

RADIUS, DISTANCE, FOV_DEG, SIZE = 0.6, 2.2, 50.0, 48


@pytest.fixture
def cameras() -> Cameras:
    return orbit_cameras(
        torch.tensor([0.0, 77.0]),
        elevation_deg=20.0,
        radius=DISTANCE,
        fov_y_deg=FOV_DEG,
        image_size_px=SIZE,
    )


def test_ball_covers_its_silhouette(cameras: Cameras) -> None:
    """A ball of radius r at distance d is seen as a disc of tangent r / sqrt(d^2 - r^2)."""
    _, opacity = render_premultiplied(scene("ball", "red"), cameras, albedo_lighting(cameras))
    tangent = RADIUS / math.sqrt(DISTANCE**2 - RADIUS**2)
    disc_px = tangent / math.tan(math.radians(FOV_DEG / 2)) * SIZE / 2
    expected = math.pi * disc_px**2
    assert opacity.sum(dim=(1, 2)).tolist() == pytest.approx([expected] * 2, rel=0.01)


def test_albedo_render_shows_the_color_and_the_background(cameras: Cameras) -> None:
    background = torch.full((2, SIZE, SIZE, 3), 0.25)
    image, _ = render_scene(scene("ball", "cyan"), cameras, albedo_lighting(cameras), background)
    assert torch.allclose(image[0, SIZE // 2, SIZE // 2], torch.tensor(COLORS["cyan"]), atol=1e-5)
    assert torch.allclose(image[0, 0, 0], torch.full((3,), 0.25))


def test_headlight_falls_off_towards_the_rim(cameras: Cameras) -> None:
    """With the light at the camera, the middle of a ball is lit fully and the rim is not."""
    light = headlight(cameras, ambient=0.2, diffuse=0.8, textureless=True)
    color, opacity = render_premultiplied(scene("ball", "red"), cameras, light)
    middle = SIZE // 2
    assert torch.allclose(color[0, middle, middle], torch.ones(3), atol=5e-3)
    covered = opacity[0] == 1
    assert color[0][covered].amin() < 0.5


def test_normals_of_a_ball_are_radial() -> None:
    direction = torch.nn.functional.normalize(
        torch.randn(100, 3, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    normals = surface_normals(scene("ball", "red"), RADIUS * direction)
    assert torch.allclose(normals, direction, atol=2e-3)


def test_front_is_seen_from_azimuth_zero() -> None:
    """The robot's light panel is on its chest: only the camera on +x sees it."""
    cameras = orbit_cameras(
        torch.tensor([0.0, 180.0]), elevation_deg=0, radius=2.2, fov_y_deg=50, image_size_px=64
    )
    color, _ = render_premultiplied(scene("robot", "red"), cameras, albedo_lighting(cameras))
    panel = (color - torch.tensor([1.0, 0.95, 0.62])).abs().amax(dim=-1) < 0.01
    assert panel[0].sum() > 20
    assert panel[1].sum() == 0


def test_mug_handle_is_on_the_right_from_the_front() -> None:
    cameras = orbit_cameras(
        torch.tensor([0.0]), elevation_deg=0, radius=2.2, fov_y_deg=50, image_size_px=64
    )
    _, opacity = render_premultiplied(scene("mug", "red"), cameras, albedo_lighting(cameras))
    columns = torch.nonzero(opacity[0].sum(dim=0) > 0)[:, 0]
    assert columns.max() - 31.5 > 31.5 - columns.min()


def test_palettes_color_each_image_on_its_own(cameras: Cameras) -> None:
    """One pass with two palettes equals a pass for each colour."""
    colors = ("red", "cyan")
    palettes = torch.stack([scene("robot", color).palette() for color in colors])
    lighting = headlight(cameras, ambient=0.3, diffuse=0.7, textureless=False)
    together, _ = render_premultiplied(scene("robot", "pink"), cameras, lighting, palettes)
    for index, color in enumerate(colors):
        alone, _ = render_premultiplied(scene("robot", color), cameras, lighting)
        assert torch.equal(together[index], alone[index])
