"""Triangle surfaces as the evaluation reads them: loading, casting rays, drawing points.

World coordinates are z-up, lengths in scene units. Open3D casts the rays on the CPU, so
no OpenGL context is needed. It and trimesh are imported where they are used, so that tables and
galleries, which only read metrics, need not wait for them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor

from dreamfusion_kit.errors import EvaluationError
from dreamfusion_kit.records import Rays, Surface

_Y_UP_AXES_OF_WORLD = [2, 0, 1]  # world x, y, z are the z, x, y of a y-up file: front is +z
_OCCUPANCY_VOTES = 3  # an odd number, so that one grazing ray is outvoted


@dataclass(frozen=True)
class TexturedMesh:
    """A surface with an albedo image; `uvs` are in [0, 1] with v = 0 at the image's last row."""

    surface: Surface
    uvs: Float[Tensor, "vertices 2"]
    texture: Float[Tensor, "h w 3"]


def load_mesh(path: Path) -> TexturedMesh:
    """Return the mesh of a y-up OBJ file whose MTL names an albedo image, in world coordinates.

    Vertices are repeated along texture seams, as the file's uv indices require. Raises
    `EvaluationError` if the file is missing or damaged, or has no faces or no texture.
    """
    import trimesh

    try:
        mesh = trimesh.load_mesh(path, process=False)
        uvs, image = _appearance(mesh)
    except Exception as error:  # A damaged file can raise anything from inside the parser.
        raise EvaluationError(
            f"{path}: found no textured triangle mesh ({type(error).__name__}: {error}), expected "
            "an OBJ with uvs and an MTL that names an image; run the mesh stage again"
        ) from error
    if len(mesh.faces) == 0:
        raise EvaluationError(f"{path}: found no faces, expected a surface; run the mesh stage")
    vertices = torch.from_numpy(np.array(mesh.vertices, dtype=np.float32)[:, _Y_UP_AXES_OF_WORLD])
    faces = torch.from_numpy(np.array(mesh.faces, dtype=np.int64))
    texture = torch.from_numpy(np.array(image, dtype=np.float32) / 255)
    return TexturedMesh(Surface(vertices, faces), torch.from_numpy(uvs), texture)


def _appearance(mesh: Any) -> tuple[Float[np.ndarray, "vertices 2"], Image.Image]:
    """Return uvs and albedo; raise `ValueError` if there are none."""
    from trimesh.visual import TextureVisuals

    visual = mesh.visual
    if not isinstance(visual, TextureVisuals) or visual.uv is None:
        raise ValueError("no uvs")
    image = getattr(visual.material, "image", None)
    if not isinstance(image, Image.Image):
        raise ValueError("no image")
    return np.array(visual.uv, dtype=np.float32), image.convert("RGB")


@dataclass(frozen=True)
class RayHits:
    """The first triangle that each ray meets: `mask` over all rays, the rest over hits only.

    `distance` is in units of the direction's length; `barycentric` weighs the corners.
    """

    mask: Bool[Tensor, "*rays"]
    distance: Float[Tensor, " hits"]
    face: Int[Tensor, " hits"]
    barycentric: Float[Tensor, "hits 3"]


class SpatialIndex:
    """A surface prepared for rays, distances and containment (Open3D's, on the CPU)."""

    def __init__(self, surface: Surface) -> None:
        """Build the acceleration structure over the surface's triangles."""
        from dreamfusion_kit.open3d_library import open3d

        self._tensor = open3d.core.Tensor.from_numpy
        self._scene = open3d.t.geometry.RaycastingScene()
        self._scene.add_triangles(
            self._tensor(surface.vertices.numpy().astype(np.float32)),
            self._tensor(surface.faces.numpy().astype(np.uint32)),
        )

    def cast(self, rays: Rays) -> RayHits:
        """Return the first hit of each ray, front or back face."""
        bundle = torch.cat([rays.origins, rays.directions], dim=-1).float().contiguous()
        answer = self._scene.cast_rays(self._tensor(bundle.numpy()))
        distance = torch.from_numpy(answer["t_hit"].numpy())
        mask = torch.isfinite(distance)
        face = torch.from_numpy(answer["primitive_ids"].numpy().astype(np.int64))
        u, v = torch.from_numpy(answer["primitive_uvs"].numpy())[mask].unbind(dim=-1)
        return RayHits(mask, distance[mask], face[mask], torch.stack([1 - u - v, u, v], dim=-1))

    def distances(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, " points"]:
        """Return the distance to the nearest point of any triangle."""
        query = self._tensor(points.astype(np.float32))
        return self._scene.compute_distance(query).numpy().astype(np.float64)

    def normals(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        """Return the unit normal of the nearest triangle; zero where it has no area."""
        query = self._tensor(points.astype(np.float32))
        found = self._scene.compute_closest_points(query)["primitive_normals"].numpy()
        normals = found.astype(np.float64)
        return normals / np.linalg.norm(normals, axis=1, keepdims=True).clip(min=1e-12)

    def contains(self, points: Float[np.ndarray, "points 3"]) -> Bool[np.ndarray, " points"]:
        """Return which points are inside, by a majority of three rays' crossing parities."""
        query = self._tensor(points.astype(np.float32))
        return self._scene.compute_occupancy(query, nsamples=_OCCUPANCY_VOTES).numpy() > 0.5


def face_normals(surface: Surface) -> Float[Tensor, "faces 3"]:
    """Return each triangle's normal, whose length is twice the area."""
    a, b, c = surface.vertices[surface.faces].unbind(dim=1)
    return torch.linalg.cross(b - a, c - a)


def smooth_normals(surface: Surface) -> Float[Tensor, "vertices 3"]:
    """Return unit normals at vertices: the area-weighted mean of the triangles around.

    Vertices at one position share a normal, so that texture seams do not show. Zero at a
    vertex without triangles.
    """
    _, merged = torch.unique(surface.vertices, dim=0, return_inverse=True)
    sums = torch.zeros_like(surface.vertices)
    corners = face_normals(surface)[:, None, :].expand(-1, 3, -1).reshape(-1, 3)
    sums.index_add_(0, merged[surface.faces].reshape(-1), corners)
    return torch.nn.functional.normalize(sums, dim=-1)[merged]


def is_watertight(surface: Surface) -> bool:
    """Return whether the surface bounds a volume: each edge borders an even number of triangles.

    Vertices at one position count as one. Triangles that this reduces to a line do not count;
    marching cubes makes them where the surface meets a grid point.
    """
    _, merged = torch.unique(surface.vertices, dim=0, return_inverse=True)
    faces = merged[surface.faces]
    edges = torch.stack([faces, faces.roll(-1, dims=1)], dim=-1)
    proper = (edges[..., 0] != edges[..., 1]).all(dim=1)
    ordered = edges[proper].reshape(-1, 2).sort(dim=1).values
    _, counts = torch.unique(ordered, dim=0, return_counts=True)
    return bool((counts % 2 == 0).all())


def sample_surface(
    surface: Surface, num_points: int, *, generator: torch.Generator
) -> Float[Tensor, "points 3"]:
    """Draw points uniformly by area. Raises `EvaluationError` if the area is zero."""
    areas = face_normals(surface).norm(dim=-1)
    if not areas.sum() > 0:
        raise EvaluationError(
            f"surface of {len(surface.faces)} faces: found zero area, expected more; "
            "look at the mesh and run the mesh stage again"
        )
    chosen = torch.multinomial(areas, num_points, replacement=True, generator=generator)
    u, v = torch.rand(2, num_points, 1, generator=generator)
    # The square root makes the barycentric coordinates uniform in area.
    a, b, c = surface.vertices[surface.faces[chosen]].unbind(dim=1)
    root = u.sqrt()
    return (1 - root) * a + root * (1 - v) * b + root * v * c


def roughness(surface: Surface) -> float:
    """Return the mean angle between neighbouring faces in degrees, weighted by their edge.

    Vertices at one position count as one; edges with one face, or with more than two, are
    left out. 0 for a surface without neighbours.
    """
    vertices, merged = torch.unique(surface.vertices, dim=0, return_inverse=True)
    faces = merged[surface.faces]
    edges = torch.stack([faces, faces.roll(-1, dims=1)], dim=-1).sort(dim=-1).values
    proper = (edges[..., 0] != edges[..., 1]).all(dim=1)
    normals = torch.nn.functional.normalize(face_normals(Surface(vertices.double(), faces)), dim=-1)
    ends, owner, count = torch.unique(
        edges[proper].reshape(-1, 2), dim=0, return_inverse=True, return_counts=True
    )
    shared = count == 2
    if not shared.any():
        return 0.0
    owners = torch.nonzero(proper)[:, 0].repeat_interleave(3)[owner.argsort(stable=True)]
    first = (count.cumsum(dim=0) - count)[shared]
    pair = normals[owners[first]], normals[owners[first + 1]]
    sine = torch.linalg.cross(*pair).norm(dim=-1)
    angles = torch.rad2deg(torch.atan2(sine, (pair[0] * pair[1]).sum(dim=-1)))
    a, b = vertices[ends[shared]].double().unbind(dim=1)
    lengths = (a - b).norm(dim=-1)
    return float((angles * lengths).sum() / lengths.sum())
