"""Every object fits its ball, can be traced, and shows its main colour."""

import pytest
import torch

from dreamfusion_kit.camera.light import headlight
from dreamfusion_kit.camera.sampler import orbit_cameras
from dreamfusion_kit.errors import EvaluationError
from dreamfusion_kit.toybox.render import render_scene
from dreamfusion_kit.toybox.shapes import (
    BOUNDING_RADIUS,
    COLORS,
    DISTINCT_SIDES,
    MAIN,
    OBJECTS,
    scene,
)


def cloud(count: int) -> torch.Tensor:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_there_are_sixteen_objects_and_eight_colors() -> None:
    assert len(OBJECTS) >= 16
    assert len(COLORS) >= 8
    assert set(OBJECTS) >= DISTINCT_SIDES


@pytest.mark.parametrize("name", OBJECTS)
def test_object_lies_inside_its_ball_and_is_not_tiny(name: str) -> None:
    points = cloud(60_000)
    inside = points[scene(name, "red").distances(points) < 0]
    assert inside.norm(dim=-1).max() < BOUNDING_RADIUS
    extent = inside.amax(dim=0) - inside.amin(dim=0)
    assert extent.max() > 0.8


@pytest.mark.parametrize("name", OBJECTS)
def test_distance_is_a_bound(name: str) -> None:
    """Sphere tracing needs a 1-Lipschitz distance for the union of all parts."""
    draw = torch.Generator().manual_seed(1)
    a = cloud(20_000)
    b = a + 0.1 * torch.randn(a.shape, generator=draw)
    solid = scene(name, "red")
    change = (solid.distances(a) - solid.distances(b)).abs()
    assert (change <= (a - b).norm(dim=-1) + 1e-5).all()


@pytest.mark.parametrize("name", OBJECTS)
def test_main_color_is_on_the_surface(name: str) -> None:
    points = cloud(60_000)
    distances, albedo = scene(name, "purple").sdf(points)
    near = distances.abs() < 0.03
    assert any(part.color == MAIN for part in scene(name, "purple").parts)
    assert torch.isclose(albedo[near], torch.tensor(COLORS["purple"])).all(dim=-1).any()


@pytest.mark.parametrize("name", sorted(DISTINCT_SIDES - {"mug"}))
def test_objects_are_mirror_images_left_to_right(name: str) -> None:
    """Objects face +x: all but the mug, and the house's chimney, look the same mirrored in y."""
    points = cloud(20_000)
    if name == "house":
        points = points[points[:, 2] < 0.2]
    mirrored = points * torch.tensor([1.0, -1.0, 1.0])
    solid = scene(name, "red")
    assert torch.allclose(solid.distances(points), solid.distances(mirrored), atol=1e-6)


def least_difference(name: str, *, textureless: bool) -> float:
    """Return how much the two most alike of front, side and back differ, per object pixel.

    Both sides count as one view: an object whose left looks like its back has no distinct back.
    """
    azimuths = torch.tensor([0.0, 90.0, 180.0, 270.0])
    cameras = orbit_cameras(
        azimuths, elevation_deg=30.0, radius=2.6, fov_y_deg=45.0, image_size_px=32
    )
    lighting = headlight(cameras, ambient=0.4, diffuse=0.6, textureless=textureless)
    images, opacity = render_scene(scene(name, "red"), cameras, lighting, torch.zeros(4, 32, 32, 3))
    front, left, back, right = images
    pairs = [(front, left), (front, right), (front, back), (back, left), (back, right)]
    covered = float((opacity > 0.5).double().mean())
    return min(float((one - other).abs().mean()) for one, other in pairs) / covered


@pytest.mark.parametrize("textureless", [False, True])
@pytest.mark.parametrize("name", sorted(set(OBJECTS) - {"mushroom"}))
def test_sides_differ_where_they_are_said_to(name: str, textureless: bool) -> None:
    """The mushroom's spots differ all around, but none of its sides is a front."""
    difference = least_difference(name, textureless=textureless)
    assert (difference > 0.01) == (name in DISTINCT_SIDES), difference


def test_unknown_names_are_refused_with_the_choices() -> None:
    with pytest.raises(EvaluationError, match=r"no mauve zeppelin; objects are ball"):
        scene("zeppelin", "mauve")
