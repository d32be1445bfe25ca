"""The first triangle that each pixel's ray meets: exact, on any device, and not differentiable.

A pinhole's ray x(t) = t d meets the triangle (a, b, c), all as seen from the camera's centre, where
three volumes have one sign (Olano and Greer 1997, "Triangle scan conversion using 2D homogeneous
coordinates"):

    w_a = d . (b x c),  w_b = d . (c x a),  w_c = d . (a x b),  t = det(a, b, c) / (w_a + w_b + w_c)

Each is linear in the pixel's column and row, so a triangle is nine numbers and each of the pixels
in its bounding rectangle costs three sums of products. A triangle behind the camera needs no
clipping: where a corner is, the rectangle is the whole image. The nearest hit of a pixel is a
minimum over integers, which does not depend on an order. Neighbours share the volume of their
edge to the bit, so no ray passes between them.

Measured against Embree and Warp: docs/adr/0014-meshes-are-drawn-in-torch.md.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dreamfusion_kit.camera.rays import focal_px
from dreamfusion_kit.records import Cameras, Surface

PAIRS_AT_ONCE = 1 << 21  # of triangle and pixel: bounds the memory
_NEAR = 1e-6  # scene units
_NOTHING = torch.iinfo(torch.int64).max


@dataclass(frozen=True)
class Visible:
    """The visible triangle of each pixel; -1 where there is none."""

    face: Int[Tensor, "batch h w"]

    @property
    def mask(self) -> Bool[Tensor, "batch h w"]:
        """Return which pixels show the surface."""
        return self.face >= 0


@torch.no_grad()
def visible_faces(
    surface: Surface, cameras: Cameras, *, pairs_at_once: int = PAIRS_AT_ONCE
) -> Visible:
    """Return the nearest triangle, front or back, at the centre of every pixel.

    `pairs_at_once` of a triangle and a pixel are tested together; the result does not depend on it.
    """
    batch, height, width = len(cameras.positions), cameras.height_px, cameras.width_px
    corners = _seen_from(surface, cameras)
    volumes, determinant = _edge_functions(corners, cameras)
    image, face, first_column, first_row, columns, rows = _rectangles(corners, cameras)
    nearest = torch.full((batch * height * width,), _NOTHING, device=corners.device)
    counts = columns * rows
    for part in _parts(counts, pairs_at_once):
        owner = torch.repeat_interleave(
            torch.arange(part.start, part.stop, device=counts.device), counts[part]
        )
        ends = counts[part].cumsum(0)
        offset = torch.arange(len(owner), device=owner.device)
        offset -= (ends - counts[part])[owner - part.start]
        row = torch.div(offset, columns[owner], rounding_mode="floor")
        column = first_column[owner] + offset - row * columns[owner]
        row += first_row[owner]
        which = (image[owner], face[owner])
        w = volumes[which]
        x, y = column.to(w.dtype) + 0.5, row.to(w.dtype) + 0.5
        w = w[:, 0] * x[:, None] + w[:, 1] * y[:, None] + w[:, 2]
        inside = (w >= 0).all(dim=-1) | (w <= 0).all(dim=-1)
        depth = determinant[which] / w.sum(dim=-1)
        hit = inside & (depth > _NEAR) & depth.isfinite()
        pixel = (which[0] * height + row) * width + column
        # Positive floats are ordered as their bits are.
        key = (depth[hit].view(torch.int32).long() << 32) | which[1][hit]
        nearest.scatter_reduce_(0, pixel[hit], key, "amin")
    found = torch.where(nearest == _NOTHING, -1, nearest & 0xFFFFFFFF)
    return Visible(found.reshape(batch, height, width))


def _seen_from(surface: Surface, cameras: Cameras) -> Float[Tensor, "batch faces 3 3"]:
    """Return the corners of every face in the axes of every camera: corner, then coordinate."""
    rotation = cameras.camera_to_world[:, :3, :3]
    local = (surface.vertices - cameras.positions[:, None]) @ rotation
    return local[:, surface.faces]


def _edge_functions(
    corners: Float[Tensor, "batch faces 3 3"], cameras: Cameras
) -> tuple[Float[Tensor, "batch faces 3 3"], Float[Tensor, "batch faces"]]:
    """Return the volumes as linear functions of the pixel, and the determinants.

    The former are indexed by coefficient (of column, of row, constant), then by corner.
    """
    a, b, c = corners.unbind(dim=2)
    normals = torch.stack([_cross(b, c), _cross(c, a), _cross(a, b)], dim=-1)
    focal = focal_px(cameras)[:, None, None]
    of_column = normals[..., 0, :] / focal
    of_row = -normals[..., 1, :] / focal
    constant = (
        -normals[..., 2, :] - of_column * (cameras.width_px / 2) - of_row * (cameras.height_px / 2)
    )
    determinant = (a * normals[..., 0]).sum(dim=-1)
    return torch.stack([of_column, of_row, constant], dim=-2), determinant


def _cross(
    first: Float[Tensor, "*points 3"], second: Float[Tensor, "*points 3"]
) -> Float[Tensor, "*points 3"]:
    """Return the cross product, whose sign alone changes when its factors are swapped."""
    x, y, z = first.unbind(dim=-1)
    u, v, w = second.unbind(dim=-1)
    # No fused multiply-add: it would round the two products differently.
    yw, zv, zu, xw, xv, yu = y * w, z * v, z * u, x * w, x * v, y * u
    return torch.stack([yw - zv, zu - xw, xv - yu], dim=-1)


def _rectangles(
    corners: Float[Tensor, "batch faces 3 3"], cameras: Cameras
) -> tuple[Int[Tensor, " pairs"], ...]:
    """Return, for each image and face that may cover a pixel's centre, the pixels to test.

    They are: image, face, first column, first row, number of columns, number of rows.
    """
    height, width = cameras.height_px, cameras.width_px
    depth = -corners[..., 2]
    in_front = (depth > _NEAR).all(dim=-1)
    focal = focal_px(cameras)[:, None, None]
    safe = depth.clamp_min(_NEAR)
    x = focal * corners[..., 0] / safe + width / 2
    y = -focal * corners[..., 1] / safe + height / 2
    low_x, high_x = _covered(x, in_front, width)
    low_y, high_y = _covered(y, in_front, height)
    columns, rows = high_x - low_x + 1, high_y - low_y + 1
    image, face = torch.nonzero(
        (columns > 0) & (rows > 0) & (depth > _NEAR).any(dim=-1), as_tuple=True
    )
    chosen = (value[image, face] for value in (low_x, low_y, columns, rows))
    return (image, face, *chosen)


_MARGIN = 1e-3  # pixels, far above the rounding of a projection


def _covered(
    projected: Float[Tensor, "batch faces 3"], in_front: Bool[Tensor, "batch faces"], size: int
) -> tuple[Int[Tensor, "batch faces"], Int[Tensor, "batch faces"]]:
    """Return the first and the last pixel, of `size`, whose centre may be covered."""
    low = (projected.amin(dim=-1) - 0.5 - _MARGIN).ceil().clamp(0, size).long()
    high = (projected.amax(dim=-1) - 0.5 + _MARGIN).floor().clamp(-1, size - 1).long()
    return torch.where(in_front, low, 0), torch.where(in_front, high, size - 1)


def _parts(counts: Int[Tensor, " pairs"], at_once: int) -> list[slice]:
    """Return runs of pairs with at most `at_once` pixels to test, or a single pair."""
    if len(counts) == 0:
        return []
    ends = counts.cumsum(0)
    parts: list[slice] = []
    start, done = 0, 0
    while start < len(counts):
        stop = int(torch.searchsorted(ends, done + at_once, right=True))
        stop = max(stop, start + 1)
        parts.append(slice(start, stop))
        done, start = int(ends[stop - 1]), stop
    return parts
