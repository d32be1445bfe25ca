"""Renders of toybox scenes by sphere tracing, with the optimiser's cameras and shading."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dreamfusion_kit.camera.rays import pixel_rays
from dreamfusion_kit.records import Cameras, Lighting
from dreamfusion_kit.renderer.sampling import intersect_sphere
from dreamfusion_kit.renderer.shading import shade
from dreamfusion_kit.toybox.shapes import BOUNDING_RADIUS, Scene

_MAX_STEPS = 96
_HIT_DISTANCE = 1e-3
_SUPERSAMPLING = 2
_NORMAL_TAPS = 1e-3 * torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])


def render_scene(
    scene: Scene, cameras: Cameras, lighting: Lighting, background: Float[Tensor, "batch h w 3"]
) -> tuple[Float[Tensor, "batch h w 3"], Float[Tensor, "batch h w"]]:
    """Return antialiased images over `background`, and their opacity (coverage in [0, 1])."""
    color, opacity = render_premultiplied(scene, cameras, lighting)
    return color + (1 - opacity[..., None]) * background, opacity


@torch.no_grad()
def render_premultiplied(
    scene: Scene,
    cameras: Cameras,
    lighting: Lighting,
    palettes: Float[Tensor, "batch parts 3"] | None = None,
) -> tuple[Float[Tensor, "batch h w 3"], Float[Tensor, "batch h w"]]:
    """Return colour times coverage, and coverage, so that any background can be put behind it.

    With `palettes` each image shows the object in its own colours, not in the scene's: one
    pass of the tracer serves all colours of an object.
    """
    factor = _SUPERSAMPLING
    fine = Cameras(
        camera_to_world=cameras.camera_to_world,
        fov_y_deg=cameras.fov_y_deg,
        azimuth_deg=cameras.azimuth_deg,
        elevation_deg=cameras.elevation_deg,
        radius=cameras.radius,
        height_px=cameras.height_px * factor,
        width_px=cameras.width_px * factor,
    )
    rays = pixel_rays(fine)
    entry, leave, crosses = intersect_sphere(rays, BOUNDING_RADIUS, near=0.0)
    origins, directions = rays.origins[crosses], rays.directions[crosses]
    points, hit = _trace(scene, origins, directions, entry[crosses], leave[crosses])
    image_index = torch.nonzero(crosses)[hit, 0]
    if palettes is None:
        palettes = scene.palette().to(points).expand(len(crosses), -1, -1)
    shaded = _shaded(scene, points, lighting, image_index, palettes)
    surface = torch.zeros(*crosses.shape, 4, device=points.device)
    surface[_nested(crosses, hit)] = torch.cat([shaded, torch.ones_like(shaded[:, :1])], dim=-1)
    pooled = torch.nn.functional.avg_pool2d(surface.permute(0, 3, 1, 2), factor)
    return pooled[:, :3].permute(0, 2, 3, 1), pooled[:, 3]


def _trace(
    scene: Scene,
    origins: Float[Tensor, "rays 3"],
    directions: Float[Tensor, "rays 3"],
    entry: Float[Tensor, " rays"],
    leave: Float[Tensor, " rays"],
) -> tuple[Float[Tensor, "hits 3"], Bool[Tensor, " rays"]]:
    """March every ray by its distance bound; return the hit points and which rays hit."""
    distance = entry.clone()
    hit = torch.zeros(len(origins), dtype=torch.bool, device=origins.device)
    active = torch.arange(len(origins), device=origins.device)
    for _ in range(_MAX_STEPS):
        bound = scene.distances(origins[active] + distance[active, None] * directions[active])
        hit[active[bound < _HIT_DISTANCE]] = True
        distance[active] += bound
        active = active[(bound >= _HIT_DISTANCE) & (distance[active] < leave[active])]
        if len(active) == 0:
            break
    return origins[hit] + distance[hit, None] * directions[hit], hit


def _shaded(
    scene: Scene,
    points: Float[Tensor, "hits 3"],
    lighting: Lighting,
    image_index: Tensor,
    palettes: Float[Tensor, "batch parts 3"],
) -> Float[Tensor, "hits 3"]:
    return shade(
        palettes[image_index, scene.nearest_part(points)],
        surface_normals(scene, points),
        points,
        lighting.positions[image_index],
        lighting.ambient[image_index],
        lighting.diffuse[image_index],
        lighting.textureless[image_index],
    )


def surface_normals(scene: Scene, points: Float[Tensor, "hits 3"]) -> Float[Tensor, "hits 3"]:
    """Return outward unit normals by four-tap differences of the distance."""
    taps = _NORMAL_TAPS.to(points)
    values = [scene.distances(points + tap)[:, None] * tap for tap in taps]
    return torch.nn.functional.normalize(torch.stack(values).sum(dim=0), dim=-1)


def _nested(
    outer: Bool[Tensor, "*shape"], inner: Bool[Tensor, " selected"]
) -> Bool[Tensor, "*shape"]:
    """Return a mask of `outer`'s shape that is true where the selected entry is true."""
    mask = torch.zeros_like(outer)
    mask[outer] = inner
    return mask
