"""Gradients against differences of finely sampled pictures, and against closed forms."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from dreamfusion_kit.camera.light import albedo_lighting, headlight
from dreamfusion_kit.camera.sampler import orbit_cameras
from dreamfusion_kit.records import Cameras, Lighting, Surface
from dreamfusion_kit.renderer.mesh.appearance import plain, vertex_colors
from dreamfusion_kit.renderer.mesh.render import render_mesh

SIZE_PX = 256
TOLERANCE = 0.02  # relative
LIGHT = torch.tensor([[1.5, -1.0, 2.0]])
MakeSurface = Callable[[str], Surface]
MakeCameras = Callable[..., Cameras]


def _weights() -> Tensor:
    """Return a smooth weight of every pixel, off centre, so that nothing cancels."""
    ticks = torch.linspace(-1, 1, SIZE_PX)
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    return torch.exp(-((x - 0.3).square() + (y + 0.2).square()) / 0.3)[None]


def _lit(cameras: Cameras) -> Lighting:
    light = headlight(cameras, ambient=0.3, diffuse=0.7, textureless=False)
    return replace(light, positions=LIGHT)


def _opacity(surface: Surface, cameras: Cameras, supersampling: int = 1) -> Tensor:
    background = torch.zeros(1, SIZE_PX, SIZE_PX, 3)
    light = albedo_lighting(cameras)
    white = plain(torch.ones(3))
    output = render_mesh(surface, white, cameras, light, background, supersampling=supersampling)
    return (output.opacity * _weights()).sum()


def _color(name: str, surface: Surface, cameras: Cameras, supersampling: int = 1) -> Tensor:
    background = torch.full((1, SIZE_PX, SIZE_PX, 3), 0.2)
    output = render_mesh(
        surface,
        plain(torch.tensor([0.9, 0.5, 0.2])),
        cameras,
        _lit(cameras),
        background,
        normals="face" if name == "cube" else "smooth",
        supersampling=supersampling,
    )
    return (output.image * _weights()[..., None] * torch.tensor([1.0, 0.6, 0.3])).sum()


def _shifted(surface: Surface, amount: Tensor, axis: int) -> Surface:
    offset = torch.nn.functional.one_hot(torch.tensor(axis), 3).float()
    return Surface(surface.vertices + amount * offset, surface.faces)


def _difference(function: Callable[[Tensor], Tensor], step: float) -> float:
    with torch.no_grad():
        ahead, behind = function(torch.tensor(step)), function(torch.tensor(-step))
    return float(ahead - behind) / (2 * step)


def _slope(function: Callable[[Tensor], Tensor]) -> float:
    amount = torch.zeros((), requires_grad=True)
    (gradient,) = torch.autograd.grad(function(amount), amount)
    return float(gradient)


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("name", ["sphere", "cube", "torus"])
def test_silhouettes_follow_a_translation(
    name: str, axis: int, shape: MakeSurface, camera: MakeCameras
) -> None:
    surface, cameras = shape(name), camera(SIZE_PX)
    slope = _slope(lambda amount: _opacity(_shifted(surface, amount, axis), cameras))
    expected = _difference(
        lambda amount: _opacity(_shifted(surface, amount, axis), cameras, 4), 0.02
    )
    assert slope == pytest.approx(expected, rel=TOLERANCE)


@pytest.mark.parametrize("name", ["sphere", "cube", "torus"])
def test_shaded_pictures_follow_a_translation(
    name: str, shape: MakeSurface, camera: MakeCameras
) -> None:
    surface, cameras = shape(name), camera(SIZE_PX)
    slope = _slope(lambda amount: _color(name, _shifted(surface, amount, 1), cameras))
    expected = _difference(
        lambda amount: _color(name, _shifted(surface, amount, 1), cameras, 4), 0.02
    )
    assert slope == pytest.approx(expected, rel=TOLERANCE)


@pytest.mark.parametrize("name", ["sphere", "cube", "torus"])
def test_a_dent_in_the_vertices_has_the_right_gradient(
    name: str, shape: MakeSurface, camera: MakeCameras
) -> None:
    """Vertices move by a smooth function of their place: the shape changes, not only its place.

    A sphere's outline is a few pixels behind the samples that stand for it, where the function
    differs: see `motion`.
    """
    surface, cameras = shape(name), camera(SIZE_PX)
    place = surface.vertices - torch.tensor([0.4, 0.3, 0.2])
    moved = place * torch.exp(-place.square().sum(dim=-1, keepdim=True) / 0.5)

    def value(amount: Tensor, supersampling: int = 1) -> Tensor:
        dented = Surface(surface.vertices + amount * moved, surface.faces)
        return _color(name, dented, cameras, supersampling)

    expected = _difference(lambda amount: value(amount, 4), 0.03)
    tolerance = 0.08 if name == "sphere" else TOLERANCE
    assert _slope(value) == pytest.approx(expected, rel=tolerance)


def test_a_hidden_outline_counts_where_it_hides_something_else(camera: MakeCameras) -> None:
    """A small square before a large one of another colour: the edges inside the picture."""
    corners = torch.tensor([[0.0, -1, -1], [0, 1, -1], [0, 1, 1], [0, -1, 1]])
    front = 0.3 * corners + torch.tensor([0.8, 0.0, 0.0])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    colors = torch.tensor([[0.1, 0.2, 0.3], [0.9, 0.6, 0.4]]).repeat_interleave(4, dim=0)
    cameras = camera(SIZE_PX)

    def value(amount: Tensor, supersampling: int = 1) -> Tensor:
        shift = amount * torch.tensor([0.0, 1.0, 0.5])
        surface = Surface(torch.cat([4 * corners, front + shift]), faces)
        output = render_mesh(
            surface,
            vertex_colors(colors, faces),
            cameras,
            albedo_lighting(cameras),
            torch.zeros(1, SIZE_PX, SIZE_PX, 3),
            supersampling=supersampling,
        )
        return (output.image * _weights()[..., None]).sum()

    expected = _difference(lambda amount: value(amount, 4), 0.02)
    assert abs(expected) > 1000
    assert _slope(value) == pytest.approx(expected, rel=TOLERANCE)


def test_colours_and_lights_have_the_right_gradient(
    shape: MakeSurface, camera: MakeCameras
) -> None:
    surface, cameras = shape("torus"), camera(64)
    background = torch.zeros(1, 64, 64, 3)
    generator = torch.Generator().manual_seed(0)
    colors = torch.rand(len(surface.vertices), 3, generator=generator)
    direction = torch.randn(colors.shape, generator=generator)

    def value(of_color: Tensor, of_light: Tensor) -> Tensor:
        light = _lit(cameras)
        light = replace(light, positions=light.positions + of_light * torch.tensor([1.0, 2, 0]))
        albedo = vertex_colors(colors + of_color * direction, surface.faces)
        output = render_mesh(surface, albedo, cameras, light, background, supersampling=2)
        return output.image.square().sum()

    zero = torch.tensor(0.0)
    for function in (lambda x: value(x, zero), lambda x: value(zero, x)):
        assert _slope(function) == pytest.approx(_difference(function, 0.01), rel=TOLERANCE)


def test_a_disc_has_its_area_and_grows_with_its_radius(shape: MakeSurface) -> None:
    """A sphere of radius r at distance d is seen as a disc of radius f r / sqrt(d^2 - r^2)."""
    surface = shape("sphere")
    distance, fov_y_deg = 2.2, 45.0
    cameras = orbit_cameras(
        torch.zeros(1), elevation_deg=0.0, radius=distance, fov_y_deg=fov_y_deg, image_size_px=128
    )
    focal = 64 / math.tan(math.radians(fov_y_deg / 2))

    def area(radius: Tensor) -> Tensor:
        scaled = Surface(radius / 0.6 * surface.vertices, surface.faces)
        output = render_mesh(
            scaled,
            plain(torch.ones(3)),
            cameras,
            albedo_lighting(cameras),
            torch.zeros(1, 128, 128, 3),
            supersampling=2,
        )
        return output.opacity.sum()

    radius = torch.tensor(0.6, requires_grad=True)
    value = area(radius)
    (slope,) = torch.autograd.grad(value, radius)
    squared = distance**2 - 0.6**2
    assert float(value.detach()) == pytest.approx(math.pi * focal**2 * 0.36 / squared, rel=0.005)
    expected = 2 * math.pi * focal**2 * 0.6 * distance**2 / squared**2
    assert float(slope) == pytest.approx(expected, rel=TOLERANCE)


def test_the_term_changes_no_pixel(shape: MakeSurface, camera: MakeCameras) -> None:
    cameras = camera(64)
    still = shape("torus")
    moving = Surface(still.vertices.clone().requires_grad_(), still.faces)
    images = [
        render_mesh(
            surface, plain(torch.ones(3)), cameras, _lit(cameras), torch.zeros(1, 64, 64, 3)
        ).image
        for surface in (still, moving)
    ]
    assert torch.equal(images[0], images[1].detach())
