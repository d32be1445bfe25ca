"""Fixed views that are scored: colour, textureless and normal images on one orbit.

Mesh, field and the toybox's true objects go through the same cameras, head-light and
background; only the render callable differs. Nothing here has a gradient.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.camera.light import headlight
from dreamfusion_kit.camera.rays import pixel_rays
from dreamfusion_kit.camera.sampler import orbit_cameras
from dreamfusion_kit.evaluation.surface import (
    RayHits,
    SpatialIndex,
    TexturedMesh,
    face_normals,
    smooth_normals,
)
from dreamfusion_kit.recipe.evaluation import TurntableSection, ViewsSection
from dreamfusion_kit.records import Cameras, Lighting, RenderOutput
from dreamfusion_kit.renderer.shading import shade

Render = Callable[[Cameras, Lighting, Tensor], RenderOutput]
"""Renders cameras under a light over a background `batch h w 3`."""

RenderImage = Callable[[Cameras, Lighting, Tensor], Tensor]
"""The same, for renderers that make nothing but the image `batch h w 3`."""


@dataclass(frozen=True)
class ViewImages:
    """The views of one object, front first, then by increasing azimuth.

    `normals` shows world-space normals as (n + 1) / 2 over the protocol's background;
    `opacity` is how much of the background each pixel hides, 0 to 1.
    """

    color: Float[Tensor, "views h w 3"]
    textureless: Float[Tensor, "views h w 3"]
    normals: Float[Tensor, "views h w 3"]
    opacity: Float[Tensor, "views h w"]


# ---- the protocol's views of anything


@torch.no_grad()
def render_views(render: Render, section: ViewsSection, *, supersampling: int) -> ViewImages:
    """Return the protocol's views.

    Args:
        render: A mesh from `mesh_renderer`, or a field as the stage wires it.
        section: The protocol: orbit, light, background.
        supersampling: Rays per pixel and axis: the protocol's for meshes, 1 for renderers
            that smooth edges themselves.
    """
    views = list(each_view(render, section, supersampling=supersampling))
    return ViewImages(
        color=torch.cat([view.color for view in views]),
        textureless=torch.cat([view.textureless for view in views]),
        normals=torch.cat([view.normals for view in views]),
        opacity=torch.cat([view.opacity for view in views]),
    )


def each_view(render: Render, section: ViewsSection, *, supersampling: int) -> Iterator[ViewImages]:
    """Yield the views of `render_views` one at a time, for when all would not fit in memory."""
    for cameras, background in _orbit(section, section.num_azimuths, supersampling):
        with torch.no_grad():
            color = render(cameras, _light(section, cameras, textureless=False), background)
            textureless = render(cameras, _light(section, cameras, textureless=True), background)
            images = (
                color.image,
                textureless.image,
                _normal_image(color, background),
                color.opacity[..., None],
            )
            image, plaster, normals, opacity = (_downsample(one, supersampling) for one in images)
        yield ViewImages(image, plaster, normals, opacity[..., 0])


@torch.no_grad()
def render_images(
    render: RenderImage, section: ViewsSection, *, textureless: bool, supersampling: int
) -> Float[Tensor, "views h w 3"]:
    """Return only the protocol's colour or textureless images, for example of the truth."""
    images = [
        render(cameras, _light(section, cameras, textureless=textureless), background)
        for cameras, background in _orbit(section, section.num_azimuths, supersampling)
    ]
    return torch.cat([_downsample(image, supersampling) for image in images])


@torch.no_grad()
def render_turntable(
    render: Render, section: ViewsSection, turntable: TurntableSection, *, supersampling: int
) -> Float[Tensor, "frames h w 3"]:
    """Return colour frames of a full turn under the protocol's light."""
    view = section.model_copy(update={"image_size_px": turntable.image_size_px})
    frames = [
        render(cameras, _light(view, cameras, textureless=False), background).image
        for cameras, background in _orbit(view, turntable.num_frames, supersampling)
    ]
    return torch.cat([_downsample(frame, supersampling) for frame in frames])


def _orbit(
    section: ViewsSection, num_views: int, supersampling: int
) -> list[tuple[Cameras, Tensor]]:
    """Return one camera and background per view; rendering one view at a time bounds memory."""
    size = section.image_size_px * supersampling
    background = torch.tensor(section.background).expand(1, size, size, 3)
    cameras = [
        orbit_cameras(
            torch.tensor([360 * index / num_views]),
            elevation_deg=section.elevation_deg,
            radius=section.radius,
            fov_y_deg=section.fov_y_deg,
            image_size_px=size,
        )
        for index in range(num_views)
    ]
    return [(camera, background) for camera in cameras]


def _light(section: ViewsSection, cameras: Cameras, *, textureless: bool) -> Lighting:
    return headlight(
        cameras, ambient=section.ambient, diffuse=section.diffuse, textureless=textureless
    )


def _normal_image(output: RenderOutput, background: Tensor) -> Float[Tensor, "batch h w 3"]:
    opacity = output.opacity[..., None]
    return 0.5 * (output.normals + opacity) + (1 - opacity) * background


def _downsample(image: Float[Tensor, "batch h w channels"], factor: int) -> Tensor:
    channels_first = image.permute(0, 3, 1, 2)
    return torch.nn.functional.avg_pool2d(channels_first, factor).permute(0, 2, 3, 1)


# ---- rendering a mesh


def mesh_renderer(mesh: TexturedMesh, *, normals: Literal["smooth", "face"]) -> Render:
    """Return a callable that ray-casts the mesh, one ray per pixel, first hit only.

    Back faces receive ambient light only, so that holes and inside-out meshes are visible.
    """
    index = SpatialIndex(mesh.surface)
    corner_normals = _corner_normals(mesh, normals)

    def render(cameras: Cameras, lighting: Lighting, background: Tensor) -> RenderOutput:
        rays = pixel_rays(cameras)
        hits = index.cast(rays)
        points = rays.origins[hits.mask] + hits.distance[:, None] * rays.directions[hits.mask]
        normal = _interpolated(corner_normals, hits)
        normal = torch.nn.functional.normalize(normal, dim=-1)
        albedo = _texture_lookup(mesh.texture, _interpolated(mesh.uvs[mesh.surface.faces], hits))
        color = _shaded(albedo, normal, points, lighting, hits)
        opacity = hits.mask.to(background.dtype)
        return RenderOutput(
            image=_scattered(color, hits, background),
            opacity=opacity,
            depth=_scattered(hits.distance, hits, torch.zeros_like(opacity)),
            normals=_scattered(normal, hits, torch.zeros_like(background)),
        )

    return render


def _corner_normals(
    mesh: TexturedMesh, normals: Literal["smooth", "face"]
) -> Float[Tensor, "faces 3 3"]:
    """Return one normal per corner of each triangle."""
    if normals == "smooth":
        return smooth_normals(mesh.surface)[mesh.surface.faces]
    return face_normals(mesh.surface)[:, None, :].expand(-1, 3, -1)


def _interpolated(
    corners: Float[Tensor, "faces 3 channels"], hits: RayHits
) -> Float[Tensor, "hits channels"]:
    return (hits.barycentric[..., None] * corners[hits.face]).sum(dim=1)


def _texture_lookup(
    texture: Float[Tensor, "h w 3"], uvs: Float[Tensor, "hits 2"]
) -> Float[Tensor, "hits 3"]:
    """Return bilinear samples; v = 0 is the image's last row, and edges are repeated."""
    grid = torch.stack([2 * uvs[:, 0] - 1, 1 - 2 * uvs[:, 1]], dim=-1)
    image = texture.permute(2, 0, 1)[None]
    samples = torch.nn.functional.grid_sample(
        image, grid[None, None], mode="bilinear", padding_mode="border", align_corners=False
    )
    return samples[0, :, 0].T


def _shaded(
    albedo: Tensor, normal: Tensor, points: Tensor, lighting: Lighting, hits: RayHits
) -> Float[Tensor, "hits 3"]:
    view = torch.nonzero(hits.mask)[:, 0]
    return shade(
        albedo,
        normal,
        points,
        lighting.positions[view],
        lighting.ambient[view],
        lighting.diffuse[view],
        lighting.textureless[view],
    )


def _scattered(values: Tensor, hits: RayHits, background: Tensor) -> Tensor:
    """Return `background` with `values` in the pixels that were hit."""
    image = background.clone()
    image[hits.mask] = values
    return image
