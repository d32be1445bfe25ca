"""What colours a surface: colours at vertices, an image over UVs, or one colour."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion_kit.renderer.mesh.points import SurfacePoints
from dreamfusion_kit.renderer.mesh.render import Albedo


def plain(color: Float[Tensor, " 3"]) -> Albedo:
    """Return one colour for all points."""
    return lambda points: color.expand(len(points.pixel), 3)


def vertex_colors(colors: Float[Tensor, "vertices 3"], faces: Int[Tensor, "faces 3"]) -> Albedo:
    """Return colours that are interpolated between those of the vertices."""
    return lambda points: points.interpolated(colors[faces])


def texture(
    image: Float[Tensor, "h w 3"],
    uvs: Float[Tensor, "corners 2"],
    faces: Int[Tensor, "faces 3"],
) -> Albedo:
    """Return the bilinear look-up of an image, clamped at its border.

    `uvs` are in [0, 1] with v = 0 at the image's last row; `faces` index them.
    """

    def look_up(points: SurfacePoints) -> Float[Tensor, "points 3"]:
        u, v = points.interpolated(uvs[faces]).unbind(dim=-1)
        grid = torch.stack([2 * u - 1, 1 - 2 * v], dim=-1)[None, None]
        channels_first = image.movedim(-1, 0)[None]
        found = torch.nn.functional.grid_sample(
            channels_first, grid, mode="bilinear", padding_mode="border", align_corners=False
        )
        return found[0, :, 0].T

    return look_up
