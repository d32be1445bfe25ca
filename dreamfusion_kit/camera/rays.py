"""Rays through pixel centres, and where they cross the bounding sphere."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dreamfusion_kit.records import Cameras, Rays


def pixel_rays(cameras: Cameras) -> Rays:
    """Return one unit-length ray per pixel centre, as `batch h w 3`; row 0 is the top."""
    device, dtype = cameras.camera_to_world.device, cameras.camera_to_world.dtype
    height, width = cameras.height_px, cameras.width_px
    rows = torch.arange(height, device=device, dtype=dtype) + 0.5
    columns = torch.arange(width, device=device, dtype=dtype) + 0.5
    focal_px = 0.5 * height / torch.tan(torch.deg2rad(cameras.fov_y_deg) / 2)
    x = (columns - width / 2).expand(height, width) / focal_px[:, None, None]
    y = -(rows - height / 2)[:, None].expand(height, width) / focal_px[:, None, None]
    local = torch.stack([x, y, -torch.ones_like(x)], dim=-1)
    rotation = cameras.camera_to_world[:, :3, :3]
    directions = torch.einsum("bij,bhwj->bhwi", rotation, local)
    directions = torch.nn.functional.normalize(directions, dim=-1)
    origins = cameras.positions[:, None, None, :].expand_as(directions)
    return Rays(origins=origins, directions=directions)


def intersect_sphere(
    rays: Rays, radius: float, near: float
) -> tuple[Float[Tensor, "*rays"], Float[Tensor, "*rays"], Bool[Tensor, "*rays"]]:
    """Return where rays enter and leave a sphere at the origin, and which rays cross it.

    The entry is never nearer than `near`, since DreamFusion's cameras stand inside the
    sphere. Where a ray misses, entry and exit are equal and the mask is False.
    """
    half_b = (rays.origins * rays.directions).sum(dim=-1)
    # Distance from the centre to the ray by rejection: b^2 - c cancels badly far away.
    closest = rays.origins - half_b[..., None] * rays.directions
    half_chord_squared = radius**2 - closest.square().sum(dim=-1)
    half_chord = half_chord_squared.clamp_min(0).sqrt()
    entry = (-half_b - half_chord).clamp_min(near)
    leave = -half_b + half_chord
    crosses = (half_chord_squared > 0) & (leave > entry)
    return entry, torch.where(crosses, leave, entry), crosses
