"""Distances between a mesh and the true shape of a toybox object.

An asset made from text has no canonical azimuth, place or size, so every measure is taken
twice: as the mesh stands (`_raw`), and at the rotation about the up axis and the uniform
scale that bring it nearest to the truth.

Notation: an alignment takes x to `scale * R_z(yaw) x + translation`; lengths are in the
truth's scene units throughout. Points are float64 arrays `points 3` in the search.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import KDTree
from skimage.measure import marching_cubes
from torch import Tensor

from dreamfusion_kit.errors import EvaluationError
from dreamfusion_kit.evaluation.surface import (
    SpatialIndex,
    Surface,
    is_watertight,
    sample_surface,
)
from dreamfusion_kit.recipe.evaluation import GeometrySection

SignedDistance = Callable[[Tensor], Tensor]
"""Signed distances `samples` of positions `samples 3`, negative inside; only the sign and the
zero level are used, so that a lower bound of the distance will do."""

_Points = Float[np.ndarray, "points 3"]
_Distances = tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]

_CHUNK = 1 << 18  # positions per call of a signed distance: bounds the memory
_NUM_REFINED = 3  # coarse candidates that are refined
_REFINEMENT_HALVINGS = 6


@dataclass(frozen=True)
class Alignment:
    """A rotation about +z by `yaw_deg`, a uniform scale and a translation, in this order."""

    yaw_deg: float
    scale: float
    translation: tuple[float, float, float]

    def apply(self, points: _Points) -> _Points:
        """Return the points moved onto the truth."""
        return self.scale * points @ _yaw_matrix(self.yaw_deg).T + np.array(self.translation)

    def undo(self, points: _Points) -> _Points:
        """Return points of the truth's frame in the mesh's own frame."""
        return (points - np.array(self.translation)) / self.scale @ _yaw_matrix(self.yaw_deg)


IDENTITY = Alignment(yaw_deg=0.0, scale=1.0, translation=(0.0, 0.0, 0.0))


@dataclass(frozen=True)
class GeometryMetrics:
    """How near a mesh is to the truth: aligned, and as it stands (`_raw`).

    `chamfer` is the mean of both directions' mean distance (not squared) from points of
    one surface to the other surface, scene units. `f_score` is the harmonic mean of the
    shares of points nearer than the protocol's distance. `iou` compares volumes. One
    alignment, the one of least Chamfer distance, serves all three, so that the other two
    may be a hair better as the mesh stands. `watertight` False
    means that the mesh bounds no volume: `iou` is then a majority vote of three rays'
    crossing parities per point and should be read with care. An aligned Chamfer distance
    never exceeds the raw one: where the search finds no better pose, the mesh stays.
    """

    chamfer: float
    f_score: float
    iou: float
    chamfer_raw: float
    f_score_raw: float
    iou_raw: float
    yaw_deg: float
    scale: float
    watertight: bool


def measure_geometry(
    mesh: Surface,
    signed_distance: SignedDistance,
    section: GeometrySection,
    *,
    bounding_radius: float,
    generator: torch.Generator,
) -> GeometryMetrics:
    """Compare a mesh with the zero level of `signed_distance`.

    Args:
        mesh: The surface to measure. It need not be watertight.
        signed_distance: The truth, inside the ball of `bounding_radius` around the origin.
        section: The protocol.
        bounding_radius: Scene units.
        generator: Draws the points on both surfaces.
    """
    truth = true_surface(signed_distance, bounding_radius, section.surface_resolution)
    pair = _Pair(mesh, truth, section.num_points, generator=generator)
    best = _align(pair, section)
    distance, resolution = section.f_score_distance, section.iou_resolution
    aligned, raw = pair.distances(best), pair.distances(IDENTITY)
    if _chamfer(*raw) < _chamfer(*aligned):  # boxes say nothing where a spike stands out
        best, aligned = IDENTITY, raw
    return GeometryMetrics(
        chamfer=_chamfer(*aligned),
        f_score=_f_score(*aligned, distance),
        iou=_volumetric_iou(pair, signed_distance, best, resolution),
        chamfer_raw=_chamfer(*raw),
        f_score_raw=_f_score(*raw, distance),
        iou_raw=_volumetric_iou(pair, signed_distance, IDENTITY, resolution),
        yaw_deg=best.yaw_deg,
        scale=best.scale,
        watertight=is_watertight(mesh),
    )


# ---- the truth


def true_surface(
    signed_distance: SignedDistance, bounding_radius: float, resolution: int
) -> Surface:
    """Return the zero level inside the bounding ball by marching cubes.

    The grid has `resolution` cells per axis and one more around the ball. Raises
    `EvaluationError` where the solid is empty or reaches the edge of the grid.
    """
    spacing = 2 * bounding_radius / resolution
    ticks = (np.arange(resolution + 3) - (resolution + 2) / 2) * spacing
    grid = np.stack(np.meshgrid(ticks, ticks, ticks, indexing="ij"), axis=-1)
    values = _evaluated(signed_distance, grid.reshape(-1, 3)).reshape(grid.shape[:3])
    inside = values < 0
    if not inside.any() or inside.sum() != inside[1:-1, 1:-1, 1:-1].sum():
        raise EvaluationError(
            f"true shape: found {inside.sum()} of {inside.size} grid points inside, some of them "
            f"perhaps at the edge, expected a solid within radius {bounding_radius}; "
            "check the object's signed distance"
        )
    vertices, faces, _, _ = marching_cubes(values, 0.0, spacing=(spacing,) * 3)
    return Surface(
        torch.from_numpy((vertices + ticks[0]).astype(np.float32)),
        torch.from_numpy(faces.astype(np.int64)),
    )


def _evaluated(signed_distance: SignedDistance, points: _Points) -> Float[np.ndarray, " points"]:
    positions = torch.from_numpy(points.astype(np.float32))
    with torch.no_grad():
        return torch.cat([signed_distance(part) for part in positions.split(_CHUNK)]).numpy()


# ---- distances between surfaces


class _Pair:
    """The mesh and the truth with points drawn on both, ready for distances."""

    def __init__(
        self, mesh: Surface, truth: Surface, num_points: int, *, generator: torch.Generator
    ) -> None:
        self.mesh_vertices = mesh.vertices.numpy().astype(np.float64)
        self.true_bounds = _bounds(truth.vertices.numpy())
        self.mesh_points = _drawn(mesh, num_points, generator)
        self.true_points = _drawn(truth, num_points, generator)
        self.mesh_index, self._true_index = SpatialIndex(mesh), SpatialIndex(truth)

    def distances(self, alignment: Alignment, first: int | None = None) -> _Distances:
        """Return exact distances from mesh points to the truth, and from true points to the mesh.

        Distances to triangles rather than to drawn points: equal shapes measure 0, not the
        spacing of the draw. `first` limits them to so many points of each surface.
        """
        to_truth = self._true_index.distances(alignment.apply(self.mesh_points[:first]))
        to_mesh = self.mesh_index.distances(alignment.undo(self.true_points[:first]))
        return to_truth, alignment.scale * to_mesh


def _drawn(surface: Surface, num_points: int, generator: torch.Generator) -> _Points:
    return sample_surface(surface, num_points, generator=generator).numpy().astype(np.float64)


def _chamfer(
    to_truth: Float[np.ndarray, " points"], to_mesh: Float[np.ndarray, " points"]
) -> float:
    return float(to_truth.mean() + to_mesh.mean()) / 2


def _f_score(
    to_truth: Float[np.ndarray, " points"], to_mesh: Float[np.ndarray, " points"], distance: float
) -> float:
    precision, recall = float((to_truth < distance).mean()), float((to_mesh < distance).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


# ---- volumes


def _volumetric_iou(
    pair: _Pair, signed_distance: SignedDistance, alignment: Alignment, resolution: int
) -> float:
    """Return the volume inside both over the volume inside either.

    Counted at the centres of cubic cells over the two bounding boxes, with `resolution`
    cells along their longest side.
    """
    mesh_bounds = _bounds(alignment.apply(pair.mesh_vertices))
    corners = np.concatenate([mesh_bounds, pair.true_bounds])
    centers = _cell_centers(corners.min(axis=0), corners.max(axis=0), resolution)
    in_truth = _evaluated(signed_distance, centers) < 0
    in_mesh = pair.mesh_index.contains(alignment.undo(centers))
    return float((in_mesh & in_truth).sum() / (in_mesh | in_truth).sum())


def _bounds(points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "2 3"]:
    return np.stack([points.min(axis=0), points.max(axis=0)]).astype(np.float64)


def _cell_centers(
    lower: Float[np.ndarray, " 3"], upper: Float[np.ndarray, " 3"], resolution: int
) -> _Points:
    size = float((upper - lower).max()) / resolution
    counts = np.ceil((upper - lower) / size - 1e-9).astype(int).clip(min=1)
    axes = [low + size * (np.arange(n) + 0.5) for low, n in zip(lower, counts, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


# ---- alignment


def _align(pair: _Pair, section: GeometrySection) -> Alignment:
    """Return the yaw and scale of least Chamfer distance.

    For each yaw the turned mesh is centred on the truth, bounding box on bounding box, in
    x, y and z; scale 1 makes the boxes' diagonals equal. All pairs of a coarse grid are
    ranked by distances between drawn points, which are cheap far away; the best few are
    refined by exact distances, inside the protocol's scale range.
    """
    yaw_step = 360 / section.num_azimuths
    yaws = [index * yaw_step for index in range(section.num_azimuths)]
    lower, upper = (math.log(value) for value in section.scale_range)
    log_scales = np.linspace(lower, upper, section.num_scales).tolist()
    rough = _point_cost(pair, section.num_search_points)
    poses = [(yaw_deg, log_scale) for yaw_deg in yaws for log_scale in log_scales]
    ranked = sorted(poses, key=lambda pose: rough(*pose))

    def exact(yaw_deg: float, log_scale: float) -> float:
        alignment = _centred(pair, yaw_deg, log_scale)
        return _chamfer(*pair.distances(alignment, first=section.num_search_points))

    steps = yaw_step / 2, (upper - lower) / section.num_scales / 2
    refined = [_refine(exact, pose, steps, (lower, upper)) for pose in ranked[:_NUM_REFINED]]
    _, yaw_deg, log_scale = min(refined)
    return _centred(pair, yaw_deg % 360, log_scale)


def _centred(pair: _Pair, yaw_deg: float, log_scale: float) -> Alignment:
    """Return the alignment whose boxes share a centre and whose diagonals' ratio is given."""
    bounds = _bounds(pair.mesh_vertices @ _yaw_matrix(yaw_deg).T)
    scale = math.exp(log_scale) * _diagonal(pair.true_bounds) / _diagonal(bounds)
    x, y, z = (pair.true_bounds.mean(axis=0) - scale * bounds.mean(axis=0)).tolist()
    return Alignment(yaw_deg, scale, (x, y, z))


def _point_cost(pair: _Pair, num_points: int) -> Callable[[float, float], float]:
    """Return the Chamfer distance between drawn points as a function of yaw and log scale."""
    mesh_points, true_points = pair.mesh_points[:num_points], pair.true_points[:num_points]
    mesh_tree, true_tree = KDTree(mesh_points), KDTree(true_points)

    def cost(yaw_deg: float, log_scale: float) -> float:
        alignment = _centred(pair, yaw_deg, log_scale)
        to_truth, _ = true_tree.query(alignment.apply(mesh_points))
        to_mesh, _ = mesh_tree.query(alignment.undo(true_points))
        return _chamfer(to_truth, alignment.scale * to_mesh)

    return cost


def _refine(
    cost: Callable[[float, float], float],
    pose: tuple[float, float],
    steps: tuple[float, float],
    log_scale_range: tuple[float, float],
) -> tuple[float, float, float]:
    """Return the (cost, yaw, log scale) that a pattern search reaches from `pose`.

    Moves to the best of the eight neighbours while it is better, then halves the steps.
    """
    best = (cost(*pose), *pose)
    for halving in range(_REFINEMENT_HALVINGS):
        yaw_step, scale_step = (step / 2**halving for step in steps)
        improved = True
        while improved:
            neighbours = {
                (best[1] + i * yaw_step, float(np.clip(best[2] + j * scale_step, *log_scale_range)))
                for i, j in itertools.product((-1, 0, 1), repeat=2)
            }
            found = min((cost(*neighbour), *neighbour) for neighbour in neighbours)
            improved = found[0] < best[0]
            best = min(best, found)
    return best


def _yaw_matrix(yaw_deg: float) -> Float[np.ndarray, "3 3"]:
    cosine, sine = math.cos(math.radians(yaw_deg)), math.sin(math.radians(yaw_deg))
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def _diagonal(bounds: Float[np.ndarray, "2 3"]) -> float:
    return float(np.linalg.norm(bounds[1] - bounds[0]))
