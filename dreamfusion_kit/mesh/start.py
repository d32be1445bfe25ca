"""The coarse mesh as the start of a refinement: distances and colours around it."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.mesh.clean import decimate
from dreamfusion_kit.mesh.isosurface import Isosurface
from dreamfusion_kit.mesh.query import query_field
from dreamfusion_kit.mesh.skin import SkinFunction
from dreamfusion_kit.open3d_library import open3d
from dreamfusion_kit.records import Surface
from dreamfusion_kit.shape.start import Start

_SIGN_VOTES = 3  # rays per point, an odd number, so that one grazing ray is outvoted


def start_from(
    surface: Isosurface,
    seen: SkinFunction,
    *,
    bounding_radius: float,
    device: torch.device,
    max_faces: int | None = None,
) -> Start:
    """Return a closed surface with functions of the positions around it, all on the CPU.

    Args:
        surface: In world coordinates.
        seen: Its colours, as a function of points on it and outward normals.
        bounding_radius: Of the ball that holds it.
        device: Where `seen` computes.
        max_faces: Of the surface that is returned; None keeps all. The functions know all.
    """
    scene = open3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        open3d.core.Tensor.from_numpy(surface.vertices.astype(np.float32)),
        open3d.core.Tensor.from_numpy(surface.faces.astype(np.uint32)),
    )

    def distances(positions: Float[Tensor, "samples 3"]) -> Float[Tensor, " samples"]:
        query = open3d.core.Tensor.from_numpy(positions.numpy())
        found = scene.compute_signed_distance(query, nsamples=_SIGN_VOTES)
        return torch.from_numpy(found.numpy().copy())

    def colors(positions: Float[Tensor, "samples 3"]) -> Float[Tensor, "samples 3"]:
        query = open3d.core.Tensor.from_numpy(positions.numpy())
        nearest = scene.compute_closest_points(query)
        points = nearest["points"].numpy().astype(np.float64)
        normals = nearest["primitive_normals"].numpy().astype(np.float64)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True).clip(min=1e-12)
        return torch.from_numpy(query_field(seen, points, normals, device=device)).float()

    moved = surface if max_faces is None else decimate(surface, max_faces)
    return Start(
        surface=Surface(
            torch.from_numpy(moved.vertices.astype(np.float32)), torch.from_numpy(moved.faces)
        ),
        distances=distances,
        colors=colors,
        bounding_radius=bounding_radius,
    )
