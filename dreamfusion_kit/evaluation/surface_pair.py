"""A mesh and the true shape beside each other, under any alignment of the one with the other.

Notation: an alignment takes x to `scale * R_z(yaw) x + translation`; lengths are in the
truth's scene units throughout. Points are float64 arrays `points 3`.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from dreamfusion_kit.evaluation.surface import SpatialIndex, Surface, sample_surface

Points = Float[np.ndarray, "points 3"]
Distances = tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]

_BULK_SHARE = 0.95


@dataclass(frozen=True)
class Alignment:
    """A rotation about +z by `yaw_deg`, a uniform scale and a translation, in this order."""

    yaw_deg: float
    scale: float
    translation: tuple[float, float, float]

    def apply(self, points: Points) -> Points:
        """Return the points moved onto the truth."""
        return self.scale * points @ yaw_matrix(self.yaw_deg).T + np.array(self.translation)

    def undo(self, points: Points) -> Points:
        """Return points of the truth's frame in the mesh's own frame."""
        return (points - np.array(self.translation)) / self.scale @ yaw_matrix(self.yaw_deg)


IDENTITY = Alignment(yaw_deg=0.0, scale=1.0, translation=(0.0, 0.0, 0.0))


class SurfacePair:
    """The mesh and the truth with points drawn on both, ready for distances."""

    def __init__(
        self, mesh: Surface, truth: Surface, num_points: int, *, generator: torch.Generator
    ) -> None:
        """Draw `num_points` on each surface, by area."""
        self.mesh_vertices = mesh.vertices.numpy().astype(np.float64)
        self.true_bounds = bounds(truth.vertices.numpy())
        self.mesh_points = _drawn(mesh, num_points, generator)
        self.true_points = _drawn(truth, num_points, generator)
        self.mesh_bulk, self.true_bulk = bulk(self.mesh_points), bulk(self.true_points)
        self.mesh_index, self.true_index = SpatialIndex(mesh), SpatialIndex(truth)

    def distances(self, alignment: Alignment, first: int | None = None) -> Distances:
        """Return exact distances from mesh points to the truth, and from true points to the mesh.

        Distances to triangles rather than to drawn points: equal shapes measure 0, not the
        spacing of the draw. `first` limits them to that many points of each surface.
        """
        to_truth = self.true_index.distances(alignment.apply(self.mesh_points[:first]))
        to_mesh = self.mesh_index.distances(alignment.undo(self.true_points[:first]))
        return to_truth, alignment.scale * to_mesh


def _drawn(surface: Surface, num_points: int, generator: torch.Generator) -> Points:
    return sample_surface(surface, num_points, generator=generator).numpy().astype(np.float64)


@dataclass(frozen=True)
class Bulk:
    """Where the bulk of a surface lies: its middle, and its extent, scene units.

    The middle is the median point by area. The extent is the root mean square distance from
    it of the nearer `_BULK_SHARE` of the area.
    """

    middle: Float[np.ndarray, " 3"]
    extent: float


def bulk(points: Points) -> Bulk:
    """Return the bulk of a surface from points drawn uniformly by area."""
    middle = np.median(points, axis=0)
    squares = np.sort(((points - middle) ** 2).sum(axis=1))
    nearer = squares[: math.ceil(_BULK_SHARE * len(squares))]
    return Bulk(middle, max(float(np.sqrt(nearer.mean())), 1e-9))


def chamfer(to_truth: Float[np.ndarray, " points"], to_mesh: Float[np.ndarray, " points"]) -> float:
    """Return the mean of both directions' mean distance."""
    return float(to_truth.mean() + to_mesh.mean()) / 2


def normal_angle(pair: SurfacePair, alignment: Alignment) -> float:
    """Return the mean angle between normals of nearest points, degrees, both directions."""
    turn = yaw_matrix(alignment.yaw_deg).T
    moved, back = alignment.apply(pair.mesh_points), alignment.undo(pair.true_points)
    own = pair.mesh_index.normals(pair.mesh_points) @ turn
    true = pair.true_index.normals(pair.true_points)
    to_truth = _angles(own, pair.true_index.normals(moved))
    to_mesh = _angles(true, pair.mesh_index.normals(back) @ turn)
    return float(to_truth.mean() + to_mesh.mean()) / 2


def _angles(first: Points, second: Points) -> Float[np.ndarray, " points"]:
    sine = np.linalg.norm(np.cross(first, second), axis=1)
    return np.degrees(np.arctan2(sine, (first * second).sum(axis=1)))


def bounds(points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "2 3"]:
    """Return the lowest and the highest corner of the points' bounding box."""
    return np.stack([points.min(axis=0), points.max(axis=0)]).astype(np.float64)


def yaw_matrix(yaw_deg: float) -> Float[np.ndarray, "3 3"]:
    """Return the rotation about +z."""
    cosine, sine = math.cos(math.radians(yaw_deg)), math.sin(math.radians(yaw_deg))
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
