"""Rays through pixel centres."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.records import Cameras, Rays


def pixel_rays(cameras: Cameras) -> Rays:
    """Return one unit-length ray per pixel centre, as `batch h w 3`; row 0 is the top.

    The cones' discs have the variance of the square pixels (mip-NeRF, s. 3.1).
    """
    device, dtype = cameras.camera_to_world.device, cameras.camera_to_world.dtype
    height, width = cameras.height_px, cameras.width_px
    rows = torch.arange(height, device=device, dtype=dtype) + 0.5
    columns = torch.arange(width, device=device, dtype=dtype) + 0.5
    focal = focal_px(cameras)
    x = (columns - width / 2).expand(height, width) / focal[:, None, None]
    y = -(rows - height / 2)[:, None].expand(height, width) / focal[:, None, None]
    local = torch.stack([x, y, -torch.ones_like(x)], dim=-1)
    rotation = cameras.camera_to_world[:, :3, :3]
    directions = torch.einsum("bij,bhwj->bhwi", rotation, local)
    # A pixel is 1 / focal wide at depth 1; at distance 1 along a slanted ray, less.
    widths = 1 / (focal[:, None, None] * local.norm(dim=-1))
    directions = torch.nn.functional.normalize(directions, dim=-1)
    origins = cameras.positions[:, None, None, :].expand_as(directions)
    return Rays(origins=origins, directions=directions, cone_radii=widths * 2 / math.sqrt(12))


def focal_px(cameras: Cameras) -> Float[Tensor, " batch"]:
    """Return the cameras' focal lengths in pixels, which are square."""
    return 0.5 * cameras.height_px / torch.tan(torch.deg2rad(cameras.fov_y_deg) / 2)
