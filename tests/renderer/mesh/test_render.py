"""Pictures against Mitsuba 3, which shares no code with them."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mitsuba
import numpy as np
import pytest
import torch

from dreamfusion_kit.camera.light import albedo_lighting
from dreamfusion_kit.records import Cameras, Lighting, Surface
from dreamfusion_kit.renderer.mesh.appearance import plain, texture, vertex_colors
from dreamfusion_kit.renderer.mesh.points import vertex_normals
from dreamfusion_kit.renderer.mesh.render import render_mesh
from dreamfusion_kit.renderer.shading import shade

SIZE_PX = 64
MakeSurface = Callable[[str], Surface]
MakeCameras = Callable[..., Cameras]


@pytest.fixture
def mi() -> Any:
    mitsuba.set_variant("scalar_rgb")
    return mitsuba


def _by_mitsuba(
    mi: Any,
    path: Path,
    cameras: Cameras,
    light: tuple[float, float, float],
    intensity: float,
    *,
    flat: bool,
) -> np.ndarray:
    position = cameras.positions[0].tolist()
    scene = mi.load_dict(
        {
            "type": "scene",
            "integrator": {"type": "path", "max_depth": 2},
            "sensor": {
                "type": "perspective",
                "fov": float(cameras.fov_y_deg[0]),
                "to_world": mi.ScalarTransform4f().look_at(
                    origin=position, target=[0, 0, 0], up=[0, 0, 1]
                ),
                "film": {
                    "type": "hdrfilm",
                    "width": SIZE_PX,
                    "height": SIZE_PX,
                    "rfilter": {"type": "box"},
                },
                "sampler": {"type": "independent", "sample_count": 64},
            },
            "light": {
                "type": "point",
                "position": list(light),
                "intensity": {"type": "rgb", "value": intensity},
            },
            "mesh": {
                "type": "ply",
                "filename": str(path),
                "face_normals": flat,
                "bsdf": {
                    "type": "twosided",
                    "bsdf": {
                        "type": "diffuse",
                        "reflectance": {"type": "mesh_attribute", "name": "vertex_color"},
                    },
                },
            },
        }
    )
    return np.array(mi.render(scene))[..., :3]


@pytest.mark.parametrize("name", ["sphere", "cube"])
def test_pictures_equal_mitsubas(
    name: str, mi: Any, shape: MakeSurface, camera: MakeCameras, tmp_path: Path
) -> None:
    """Convex shapes: a point light there casts shadows, which this shading does not have."""
    surface, cameras = shape(name), camera(SIZE_PX)
    generator = torch.Generator().manual_seed(0)
    places = surface.vertices @ torch.randn(3, 3, generator=generator)
    colors = 0.5 + 0.4 * (3 * places).sin()
    _write_ply(tmp_path / "mesh.ply", surface, colors)
    # So far away that the light hardly falls off over the object; Lambert's 1 / pi.
    light, diffuse = (600.0, 300.0, 700.0), 0.8
    intensity = diffuse * math.pi * sum(value**2 for value in light)
    expected = _by_mitsuba(
        mi, tmp_path / "mesh.ply", cameras, light, intensity, flat=name == "cube"
    )
    one = torch.ones(1)
    found = render_mesh(
        surface,
        vertex_colors(colors, surface.faces),
        cameras,
        Lighting(torch.tensor([light]), 0 * one, diffuse * one, one < 0),
        torch.zeros(1, SIZE_PX, SIZE_PX, 3),
        normals="face" if name == "cube" else "smooth",
        supersampling=4,
    ).image[0]
    difference = np.abs(found.numpy() - expected)
    assert expected.max() > 0.4
    assert difference.mean() < 2e-3
    assert np.quantile(difference, 0.99) < 0.03  # outlines are sampled differently


def _write_ply(path: Path, surface: Surface, colors: torch.Tensor) -> None:
    """Write float colours under the names that Mitsuba reads as an attribute."""
    vertices = torch.cat([surface.vertices, vertex_normals(surface), colors], dim=1)
    names = ("x", "y", "z", "nx", "ny", "nz", "r", "g", "b")
    lines = ["ply", "format ascii 1.0", f"element vertex {len(vertices)}"]
    lines += [f"property float {name}" for name in names]
    lines += [f"element face {len(surface.faces)}", "property list uchar int vertex_indices"]
    lines += ["end_header"]
    lines += [" ".join(f"{value:.8g}" for value in row) for row in vertices.tolist()]
    lines += ["3 " + " ".join(map(str, row)) for row in surface.faces.tolist()]
    path.write_text("\n".join(lines) + "\n")


def test_depth_opacity_and_normals_of_a_sphere(shape: MakeSurface, camera: MakeCameras) -> None:
    """In closed form; the mesh lies within its chords of the sphere."""
    surface, cameras = shape("sphere"), camera(65)
    output = render_mesh(
        surface,
        plain(torch.ones(3)),
        cameras,
        albedo_lighting(cameras),
        torch.zeros(1, 65, 65, 3),
    )
    assert float(output.depth[0, 32, 32]) == pytest.approx(2.2 - 0.6, abs=2e-3)
    towards = torch.nn.functional.normalize(cameras.positions[0], dim=0)
    assert torch.allclose(output.normals[0, 32, 32], towards, atol=0.02)
    assert float(output.opacity[0, 0, 0]) == 0.0
    assert torch.equal(output.opacity[0] > 0, output.depth[0] > 0)


def test_a_texture_is_read_as_its_uvs_say(camera: MakeCameras) -> None:
    """A square that fills the picture shows the image, row 0 on top."""
    corners = torch.tensor([[0.0, -1, -1], [0, 1, -1], [0, 1, 1], [0, -1, 1]])
    uvs = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    image = torch.rand(4, 4, 3, generator=torch.Generator().manual_seed(0))
    pose = torch.tensor([[[0.0, 0, 1, 3], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]])
    zero = torch.zeros(1)
    fov = torch.tensor([2 * math.degrees(math.atan(1 / 3))])
    cameras = Cameras(pose, fov, zero, zero, zero + 3, 4, 4)
    found = render_mesh(
        Surface(corners, faces),
        texture(image, uvs, faces),
        cameras,
        albedo_lighting(cameras),
        torch.zeros(1, 4, 4, 3),
    ).image
    assert torch.allclose(found[0], image, atol=1e-4)


def test_shading_is_the_volume_renderers(shape: MakeSurface, camera: MakeCameras) -> None:
    surface, cameras = shape("sphere"), camera(33)
    light = torch.tensor([[1.0, 2.0, 0.5]])
    one = torch.ones(1)
    lighting = Lighting(light, 0.3 * one, 0.6 * one, one < 0)
    color = torch.tensor([0.2, 0.5, 0.9])
    background = torch.zeros(1, 33, 33, 3)
    output = render_mesh(surface, plain(color), cameras, lighting, background)
    normal = output.normals[0, 16, 16]
    point = 0.6 * normal
    expected = shade(color, normal, point, light[0], one[0] * 0.3, one[0] * 0.6, one[0] < 0)
    assert torch.allclose(output.image[0, 16, 16], expected, atol=5e-3)
