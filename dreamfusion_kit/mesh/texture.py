"""The albedo of a surface, baked into its UV atlas.

UV coordinates are in [0, 1] with v upwards, as in OBJ: texel (row, column) of a
square image of `size` texels has its centre at u = (column + 0.5) / size and
v = 1 - (row + 0.5) / size.

Colours are the field's albedo, in [0, 1], written as 8 bit without any transfer curve. The
field was optimised to match display images, so its albedo is already sRGB-encoded, which
is what glTF and MTL expect of a colour texture.
"""

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8

from dreamfusion_kit.errors import MeshError
from dreamfusion_kit.mesh.atlas import UvAtlas
from dreamfusion_kit.mesh.isosurface import Isosurface
from dreamfusion_kit.mesh.query import query_field
from dreamfusion_kit.mesh.skin import SkinFunction
from dreamfusion_kit.open3d_library import open3d

_MIN_LENGTH = 1e-12  # opposite normals cancel


def bake_texture(
    surface: Isosurface,
    normals: Float[np.ndarray, "vertices 3"],
    atlas: UvAtlas,
    albedo: SkinFunction,
    *,
    texture_size_px: int,
    device: torch.device,
) -> UInt8[np.ndarray, "h w 3"]:
    """Return the texture: each texel has the albedo of the surface point nearest in UV space.

    `normals` are the vertices'; between them they are interpolated and renormalised.

    Texels between the charts take the colour of the nearest chart's border by the same
    rule, so that neither bilinear filtering nor mip maps ever meet a background colour.
    """
    face, barycentric = texel_points(atlas, texture_size_px)
    corners = surface.faces[face]
    positions = np.einsum("tk,tkd->td", barycentric, surface.vertices[corners])
    mixed = np.einsum("tk,tkd->td", barycentric, normals[corners])
    lengths = np.linalg.norm(mixed, axis=1, keepdims=True).clip(min=_MIN_LENGTH)
    colors = query_colors(albedo, positions, mixed / lengths, device=device)
    return colors.reshape(texture_size_px, texture_size_px, 3)


def texel_points(
    atlas: UvAtlas, size: int
) -> tuple[Int[np.ndarray, " texels"], Float[np.ndarray, "texels 3"]]:
    """Return the surface point of every texel, row by row from the top: face and barycentrics."""
    return _nearest_in_uv(atlas, _texel_centres(size), size)


def query_colors(
    albedo: SkinFunction,
    positions: Float[np.ndarray, "samples 3"],
    normals: Float[np.ndarray, "samples 3"],
    *,
    device: torch.device,
) -> UInt8[np.ndarray, "samples 3"]:
    """Return the albedo at surface positions as 8 bit colours, rounded to nearest."""
    colors = query_field(albedo, positions, normals, device=device)
    bad = ~((colors > -1e-3) & (colors < 1 + 1e-3))  # true for nan, tolerates rounding errors
    if bad.any():
        raise MeshError(
            f"mesh: {int(bad.any(axis=1).sum())} of {len(colors)} albedo values on the surface "
            "are outside [0, 1] or not finite. The field is damaged: optimise it again"
        )
    return np.rint(255 * colors.clip(0, 1)).astype(np.uint8)


def _texel_centres(size: int) -> Float[np.ndarray, "texels 2"]:
    """Return the UV coordinates of all texel centres, row by row from the top."""
    centres = (np.arange(size) + 0.5) / size
    u, v = np.meshgrid(centres, 1 - centres)
    return np.stack([u.ravel(), v.ravel()], axis=-1)


def _nearest_in_uv(
    atlas: UvAtlas, uvs: Float[np.ndarray, "texels 2"], size: int
) -> tuple[Int[np.ndarray, " texels"], Float[np.ndarray, "texels 3"]]:
    """Return the face nearest to each UV point, and the barycentric weights of its nearest point.

    The charts lie in the plane z = 0 of a ray-casting scene, in units of texels.
    """
    scene = open3d.t.geometry.RaycastingScene()
    triangles = open3d.core.Tensor.from_numpy(atlas.faces.astype(np.uint32))
    scene.add_triangles(_in_plane(size * atlas.uvs), triangles)
    nearest = scene.compute_closest_points(_in_plane(size * uvs))
    weights = nearest["primitive_uvs"].numpy().astype(np.float64)
    first = 1 - weights.sum(axis=1, keepdims=True)
    faces = nearest["primitive_ids"].numpy().astype(np.int64)
    return faces, np.concatenate([first, weights], axis=1)


def _in_plane(points: Float[np.ndarray, "points 2"]) -> open3d.core.Tensor:
    return open3d.core.Tensor.from_numpy(np.pad(points, [(0, 0), (0, 1)]).astype(np.float32))
