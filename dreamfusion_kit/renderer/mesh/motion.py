"""What moving vertices do to a picture: outlines, shading and texture that move across pixels.

Each pixel is a sample of a surface point with fixed weights of its face's corners. Moving the
vertices changes that point's own colour, which autograd knows, and carries it to another place,
which a picture of samples does not show. The second part is -(v . grad I), with v the speed in
pixels of the visible surface and the gradient of a box-filtered picture, outlines included.
Between two neighbours I jumps by their difference, on the side that they share; following the
rasterised edge gradients of Pidhorskyi et al. (arXiv 2405.02508),

    d(pixel) = 1/2 (value left - value right) v_x     for both pixels beside an upright side,
    d(pixel) = 1/2 (value above - value below) v_y    for both beside a level one,

where the nearer of the two surfaces gives v. The steps that stand for a slanted outline have the
outline's normal in sum. Nothing has to be known about edges, and triangles may be smaller than
a pixel. Unlike that paper, which treats smooth parts by the derivative of the weights, all
neighbours are treated alike: near the outline of a curved surface that derivative grows without
bound, and its samples miss the integral.

A point with camera coordinates (x, y, -z) and velocity (dx, dy, -dz) moves by f / z (dx - u dz)
pixels, u = x / z. The outline is half a pixel from the sample that stands for it, where a
curved surface can be much further away: u and z are those of the face's plane at the side. The
velocity stays the sample's: exact for a translation, and too near by the root of a pixel's size
times the radius of curvature for anything else (measured: 7 % on the dented sphere of the tests).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion_kit.camera.rays import focal_px
from dreamfusion_kit.records import Cameras, Surface
from dreamfusion_kit.renderer.mesh.points import SurfacePoints
from dreamfusion_kit.renderer.mesh.visibility import Visible

_MAX_EXTRAPOLATION = 16.0  # pixel sizes along the ray, from the sample to the side


def motion_term(
    values: Float[Tensor, "batch h w channels"],
    surface: Surface,
    visible: Visible,
    points: SurfacePoints,
    cameras: Cameras,
) -> Float[Tensor, "batch h w channels"]:
    """Return zeros with the gradient that the surface's motion has on `values`.

    Args:
        values: The picture, and whatever else is filtered like it.
        surface: The triangles.
        visible: The face of each pixel.
        points: What the pixels show.
        cameras: Their cameras.
    """
    flat = values.detach().reshape(-1, values.shape[-1])
    samples = _samples(surface, visible, points, cameras)
    term = torch.zeros_like(flat)
    numbers = torch.arange(len(flat), device=flat.device).reshape(visible.face.shape)
    sides = ((numbers[:, :, :-1], numbers[:, :, 1:]), (numbers[:, :-1], numbers[:, 1:]))
    for axis, (first, second) in enumerate(sides):
        shown = visible.mask.reshape(-1)[first] | visible.mask.reshape(-1)[second]
        pair = first[shown], second[shown]
        moved = _moved_px(samples, *pair, visible, cameras, axis)
        change = 0.5 * (flat[pair[0]] - flat[pair[1]]) * moved[:, None]
        term = term.index_add(0, pair[0], change).index_add(0, pair[1], change)
    return term.reshape(values.shape)


@dataclass(frozen=True)
class _Samples:
    """The visible points in their cameras' axes; a row per point, `row` of each pixel or -1."""

    row: Int[Tensor, " pixels"]
    local: Float[Tensor, "points 3"]
    motion: Float[Tensor, "points 3"]  # zero, with the gradient of `local`
    normal: Float[Tensor, "points 3"]  # of the face


def _samples(
    surface: Surface, visible: Visible, points: SurfacePoints, cameras: Cameras
) -> _Samples:
    rotation = cameras.camera_to_world[points.image, :3, :3]
    relative = points.positions - cameras.positions[points.image]
    local = torch.einsum("pji,pj->pi", rotation, relative)
    row = torch.full_like(visible.face.reshape(-1), -1)
    row[points.pixel] = torch.arange(len(points.pixel), device=row.device)
    with torch.no_grad():
        a, b, c = surface.vertices[surface.faces[points.face]].unbind(dim=1)
        normal = torch.einsum("pji,pj->pi", rotation, torch.linalg.cross(b - a, c - a))
        normal = torch.nn.functional.normalize(normal, dim=-1)
    return _Samples(row, local.detach(), local - local.detach(), normal)


def _moved_px(
    samples: _Samples,
    first: Int[Tensor, " sides"],
    second: Int[Tensor, " sides"],
    visible: Visible,
    cameras: Cameras,
    axis: int,
) -> Float[Tensor, " sides"]:
    """Return zeros with the gradient of how far the surface moves across each side, pixels.

    `axis` 0 is to the right, for neighbours in a row; 1 is down.
    """
    _, height, width = visible.face.shape
    depth = -samples.local[:, 2]
    rows = samples.row[first], samples.row[second]
    far = torch.full_like(depth[:1], torch.inf)
    depths = [torch.where(row >= 0, depth[row], far) for row in rows]
    front = torch.where(depths[0] <= depths[1], *rows)
    focal = focal_px(cameras)[torch.div(first, height * width, rounding_mode="floor")]
    column, line = first % width, torch.div(first, width, rounding_mode="floor") % height
    x = (column + (1.0 if axis == 0 else 0.5) - width / 2) / focal
    y = -(line + (1.0 if axis == 1 else 0.5) - height / 2) / focal
    ray = torch.stack([x, y, -torch.ones_like(x)], dim=-1)
    normal, local = samples.normal[front], samples.local[front]
    plane = (normal * local).sum(dim=-1) / (normal * ray).sum(dim=-1)
    reach = _MAX_EXTRAPOLATION * depth[front] / focal
    low, high = depth[front] - reach, torch.minimum(depth[front] + reach, torch.maximum(*depths))
    z = torch.where(plane > 0, plane, torch.inf).clamp(low, high)
    motion = samples.motion[front]
    along = motion[:, axis] + (x, y)[axis] * motion[:, 2]
    return (focal / z) * along * (1.0 if axis == 0 else -1.0)
