"""The surface points that pixels show, with gradients to the vertices.

`visibility` says which triangle a pixel shows. The point on it keeps its weights of the corners:
it moves, turns and is coloured as they are. How that carries it past the pixel is `motion`'s part.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion_kit.records import Rays, Surface
from dreamfusion_kit.renderer.mesh.visibility import Visible

Normals = Literal["smooth", "face"]


@dataclass(frozen=True)
class SurfacePoints:
    """Where the rays of some pixels meet a surface.

    `pixel` counts through `batch h w`; `image` is the pixel's place in the batch. `barycentric`
    weighs the corners of `face`, without a gradient. `normals` are unit and outward.
    """

    pixel: Int[Tensor, " points"]
    image: Int[Tensor, " points"]
    face: Int[Tensor, " points"]
    barycentric: Float[Tensor, "points 3"]
    positions: Float[Tensor, "points 3"]
    normals: Float[Tensor, "points 3"]

    def interpolated(self, corners: Float[Tensor, "faces 3 channels"]) -> Tensor:
        """Return the values `points channels` between those at the corners of the faces."""
        return (self.barycentric[..., None] * corners[self.face]).sum(dim=1)


def surface_points(
    surface: Surface, visible: Visible, rays: Rays, *, normals: Normals
) -> SurfacePoints:
    """Return the points that the pixels with a visible face show, pixel by pixel.

    Differentiable with respect to vertices.

    Args:
        surface: The triangles.
        visible: The face of each pixel.
        rays: Those through the pixels' centres.
        normals: Interpolated between the vertices, or one per face.
    """
    pixel = torch.nonzero(visible.face.reshape(-1) >= 0)[:, 0]
    face = visible.face.reshape(-1)[pixel]
    origins, directions = (value.reshape(-1, 3)[pixel] for value in (rays.origins, rays.directions))
    corners = surface.vertices[surface.faces[face]]
    barycentric = _barycentric(corners.detach() - origins[:, None], directions)
    normal = (
        torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        if normals == "face"
        else _mixed(vertex_normals(surface)[surface.faces[face]], barycentric)
    )
    return SurfacePoints(
        pixel=pixel,
        image=torch.div(pixel, visible.face[0].numel(), rounding_mode="floor"),
        face=face,
        barycentric=barycentric,
        positions=_mixed(corners, barycentric),
        normals=torch.nn.functional.normalize(normal, dim=-1),
    )


def vertex_normals(surface: Surface) -> Float[Tensor, "vertices 3"]:
    """Return unit outward normals at vertices: the area-weighted mean of the faces around.

    Differentiable; zero at a vertex without faces.
    """
    a, b, c = surface.vertices[surface.faces].unbind(dim=1)
    weighted = torch.linalg.cross(b - a, c - a)
    sums = torch.zeros_like(surface.vertices)
    for corner in range(3):
        sums = sums.index_add(0, surface.faces[:, corner], weighted)
    return torch.nn.functional.normalize(sums, dim=-1)


def _barycentric(
    corners: Float[Tensor, "points 3 3"], directions: Float[Tensor, "points 3"]
) -> Float[Tensor, "points 3"]:
    """Return the weights of corners, given relative to the ray's origin."""
    a, b, c = corners.unbind(dim=1)
    cross = torch.linalg.cross
    volumes = torch.stack([cross(b, c), cross(c, a), cross(a, b)], dim=1)
    volumes = (volumes * directions[:, None]).sum(dim=-1)
    return volumes / volumes.sum(dim=-1, keepdim=True)


def _mixed(
    corners: Float[Tensor, "points 3 channels"], barycentric: Float[Tensor, "points 3"]
) -> Float[Tensor, "points channels"]:
    return (barycentric[..., None] * corners).sum(dim=1)
