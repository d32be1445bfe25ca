"""A model that is optimised towards pictures of another surface finds that surface."""

from collections.abc import Callable

import pytest
import torch

from dreamfusion_kit.camera.light import headlight
from dreamfusion_kit.camera.sampler import orbit_cameras
from dreamfusion_kit.recipe.schema import (
    FlexicubesSection,
    RefineSection,
    VertexOffsetsSection,
)
from dreamfusion_kit.records import Surface
from dreamfusion_kit.renderer.mesh.appearance import plain
from dreamfusion_kit.renderer.mesh.render import render_mesh
from dreamfusion_kit.shape.adjacency import shared_edges
from dreamfusion_kit.shape.model import SurfaceModel
from dreamfusion_kit.shape.smoothness import normal_consistency
from dreamfusion_kit.shape.start import Start

BOTH = frozenset(("geometry", "texture"))
OFFSETS = VertexOffsetsSection(
    kind="vertex_offsets", max_faces=5000, learning_rate=0.005, smoothing_lambda=0.0
)
SMOOTH = OFFSETS.model_copy(update={"smoothing_lambda": 20.0, "learning_rate": 0.02})


@pytest.mark.parametrize("kind", ["dmtet", "flexicubes", "vertex_offsets", "smooth"])
def test_pictures_of_an_ellipsoid_make_an_ellipsoid_of_a_ball(
    kind: str,
    section: RefineSection,
    ball: Start,
    make_flexicubes: Callable[..., FlexicubesSection],
) -> None:
    if kind == "vertex_offsets":
        section = section.model_copy(update={"representation": OFFSETS})
    if kind == "smooth":
        section = section.model_copy(update={"representation": SMOOTH})
    if kind == "flexicubes":
        section = section.model_copy(update={"representation": make_flexicubes(resolution=16)})
    model = SurfaceModel(section, ball, seed=0)
    stretch = torch.tensor([1.0, 0.7, 1.3])
    truth = Surface(ball.surface.vertices * stretch, ball.surface.faces)
    color = torch.tensor([0.2, 0.7, 0.4])
    optimizer = torch.optim.Adam(model.parameter_groups(BOTH), betas=(0.9, 0.99))
    for step in range(150 if kind == "vertex_offsets" else 60):
        cameras = orbit_cameras(
            torch.tensor([97.0 * step]),
            elevation_deg=20.0,
            radius=2.4,
            fov_y_deg=45.0,
            image_size_px=48,
        )
        light = headlight(cameras, ambient=0.3, diffuse=0.7, textureless=False)
        background = torch.zeros(1, 48, 48, 3)
        target = render_mesh(truth, plain(color), cameras, light, background).image
        found = model.regularized()
        surface = found.surface
        image = model.render(surface, cameras, light, background, supersampling=1).image
        loss = (image - target).square().sum()
        loss = loss + normal_consistency(surface, shared_edges(surface.faces))
        if found.penalty is not None:
            loss = loss + found.penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = model.surface().vertices.detach()
    extent = (found.amax(dim=0) - found.amin(dim=0)) / 2
    # A vertex moves only by what its own pixels say, against the stiffness of its neighbours.
    tolerance = 0.06 if kind == "vertex_offsets" else 0.03
    assert torch.allclose(extent, 0.5 * stretch, atol=tolerance)
    assert torch.allclose(model.texture(found).mean(dim=0), color, atol=0.08)


def test_it_starts_with_the_colours_of_the_coarse_surface(
    section: RefineSection, ball: Start
) -> None:
    model = SurfaceModel(section, ball, seed=0)
    points = ball.surface.vertices
    assert torch.allclose(model.texture(points), 0.5 + 0.4 * points, atol=0.01)


def test_it_draws_nothing_at_random(section: RefineSection, ball: Start) -> None:
    torch.manual_seed(0)
    first = SurfaceModel(section, ball, seed=0).state_dict()
    torch.manual_seed(1)
    second = SurfaceModel(section, ball, seed=0).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
