"""Draw a triangle mesh under a point light over a background."""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.camera.rays import pixel_rays
from dreamfusion_kit.records import Cameras, Lighting, RenderOutput, Surface
from dreamfusion_kit.renderer.mesh.ggx import shade_ggx
from dreamfusion_kit.renderer.mesh.motion import motion_term
from dreamfusion_kit.renderer.mesh.points import Normals, SurfacePoints, surface_points
from dreamfusion_kit.renderer.mesh.visibility import visible_faces
from dreamfusion_kit.renderer.shading import shade

Material = Callable[[SurfacePoints], Float[Tensor, "points 2"]]
"""Roughness and metallic of a surface, in [0, 1]."""

Albedo = Callable[[SurfacePoints], Float[Tensor, "points 3"]]
"""What colours a surface, in [0, 1]: see `appearance`, or any field queried at the points."""


def render_mesh(
    surface: Surface,
    albedo: Albedo,
    cameras: Cameras,
    lighting: Lighting,
    background: Float[Tensor, "batch h w 3"],
    *,
    normals: Normals = "smooth",
    supersampling: int = 1,
    material: Material | None = None,
) -> RenderOutput:
    """Return pictures of the surface, of the cameras' size.

    Everything is differentiable with respect to vertices, albedo, lights and background: see
    `motion`. Both sides of a face are drawn; one that
    faces away from the light, as a hole shows, has ambient light alone.

    Args:
        surface: The triangles, on the cameras' device.
        albedo: Queried once, at all visible points.
        cameras: One per image.
        lighting: One light per image.
        background: Behind the surface.
        normals: Interpolated between the vertices, or one per face.
        supersampling: Rays per pixel and axis, averaged.
        material: Roughness and metallic at the points, shaded by `ggx`; None is Lambertian.
    """
    fine = _finer(cameras, supersampling)
    rays = pixel_rays(fine)
    visible = visible_faces(surface, fine)
    points = surface_points(surface, visible, rays, normals=normals)
    lights = [
        value[points.image]
        for value in (lighting.positions, lighting.ambient, lighting.diffuse, lighting.textureless)
    ]
    if material is None:
        colors = shade(albedo(points), points.normals, points.positions, *lights)
    else:
        eyes = rays.origins.reshape(-1, 3)[points.pixel]
        reflecting = albedo(points), material(points)
        colors = shade_ggx(*reflecting, points.normals, points.positions, eyes, *lights)
    behind = _repeated(background, supersampling).reshape(-1, 3)
    origins = rays.origins.reshape(-1, 3)[points.pixel]
    distance = (points.positions - origins).norm(dim=-1, keepdim=True)
    ones = torch.ones_like(distance)
    found = torch.cat([colors, ones, distance, points.normals], dim=-1)
    empty = torch.cat([behind, behind.new_zeros(len(behind), 5)], dim=-1)
    values = empty.index_copy(0, points.pixel, found).reshape(*visible.face.shape, 8)
    if surface.vertices.requires_grad:
        values = values + motion_term(values, surface, visible, points, fine)
    image, opacity, depth, mean_normals = _pooled(values, supersampling).split([3, 1, 1, 3], dim=-1)
    return RenderOutput(
        image=image, opacity=opacity[..., 0], depth=depth[..., 0], normals=mean_normals
    )


def _finer(cameras: Cameras, factor: int) -> Cameras:
    return replace(
        cameras, height_px=cameras.height_px * factor, width_px=cameras.width_px * factor
    )


def _repeated(image: Float[Tensor, "batch h w 3"], factor: int) -> Tensor:
    if factor == 1:
        return image
    return image.repeat_interleave(factor, dim=1).repeat_interleave(factor, dim=2)


def _pooled(image: Float[Tensor, "batch h w channels"], factor: int) -> Tensor:
    if factor == 1:
        return image
    batch, height, width, channels = image.shape
    blocks = image.reshape(batch, height // factor, factor, width // factor, factor, channels)
    return blocks.mean(dim=(2, 4))
