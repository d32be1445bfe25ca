"""Distances between a mesh and the true shape of a toybox object.

An asset made from text has no canonical azimuth, place or size, so every measure is taken
twice: on the mesh as it is (`_raw`), and at the rotation about the up axis, the uniform scale
and the translation that bring it nearest to the truth.

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
_TRANSLATION_STEP = 0.1  # of the truth's extent, before halving
_BULK_SHARE = 0.95


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
    """How near a mesh is to the truth: aligned, and as it is (`_raw`).

    `chamfer` is the mean of both directions' mean distance (not squared) from points of
    one surface to the other surface, scene units. `f_score` is the harmonic mean of the
    shares of points nearer than the protocol's distance. `iou` compares volumes. One
    alignment, the one of least Chamfer distance, serves all three, so the other two may be
    slightly better on the unaligned mesh. `normal_angle` is the mean angle in degrees between a
    point's face and the face of the other surface nearest to it, both directions, after alignment:
    unlike distances, it notices bumps. `watertight` False
    means that the mesh bounds no volume: `iou` is then a majority vote of three rays'
    crossing parities per point and should be read with care. An aligned Chamfer distance
    never exceeds the raw one: if the search finds no better pose, the mesh stays.
    """

    chamfer: float
    f_score: float
    iou: float
    normal_angle: float
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
    if _chamfer(*raw) < _chamfer(*aligned):  # the search draws fewer points, in a coarse grid
        best, aligned = IDENTITY, raw
    return GeometryMetrics(
        chamfer=_chamfer(*aligned),
        f_score=_f_score(*aligned, distance),
        iou=_volumetric_iou(pair, signed_distance, best, resolution),
        normal_angle=_normal_angle(pair, best),
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
    `EvaluationError` if the solid is empty or reaches the edge of the grid.
    """
    from skimage.measure import marching_cubes  # here, so that reading metrics does not import it

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
        self.mesh_bulk, self.true_bulk = _bulk(self.mesh_points), _bulk(self.true_points)
        self.mesh_index, self.true_index = SpatialIndex(mesh), SpatialIndex(truth)

    def distances(self, alignment: Alignment, first: int | None = None) -> _Distances:
        """Return exact distances from mesh points to the truth, and from true points to the mesh.

        Distances to triangles rather than to drawn points: equal shapes measure 0, not the
        spacing of the draw. `first` limits them to that many points of each surface.
        """
        to_truth = self.true_index.distances(alignment.apply(self.mesh_points[:first]))
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


def _normal_angle(pair: "_Pair", alignment: Alignment) -> float:
    """Return the mean angle between normals of nearest points, degrees, both directions."""
    turn = _yaw_matrix(alignment.yaw_deg).T
    moved, back = alignment.apply(pair.mesh_points), alignment.undo(pair.true_points)
    own = pair.mesh_index.normals(pair.mesh_points) @ turn
    true = pair.true_index.normals(pair.true_points)
    to_truth = _angles(own, pair.true_index.normals(moved))
    to_mesh = _angles(true, pair.mesh_index.normals(back) @ turn)
    return float(to_truth.mean() + to_mesh.mean()) / 2


def _angles(first: _Points, second: _Points) -> Float[np.ndarray, " points"]:
    sine = np.linalg.norm(np.cross(first, second), axis=1)
    return np.degrees(np.arctan2(sine, (first * second).sum(axis=1)))


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

_Cost = Callable[[Alignment], float]


def _align(pair: _Pair, section: GeometrySection) -> Alignment:
    """Return the yaw, scale and translation of least Chamfer distance.

    Each yaw of a coarse grid starts with the middle of the turned mesh on the middle of the
    truth; scale 1 makes their extents equal. Middle and extent are those of the bulk of the
    surface (`_bulk`), so that a spike or a flake moves neither. All pairs of yaw and scale are
    ranked by distances between drawn points, which are cheap far away. The best few, and the
    unaligned mesh, are refined by exact distances in all five numbers, inside the
    protocol's scale range.
    """
    yaw_step = 360 / section.num_azimuths
    lower, upper = (math.log(value) for value in section.scale_range)
    log_scales = np.linspace(lower, upper, section.num_scales).tolist()
    starts = [
        _centred(pair, index * yaw_step, log_scale)
        for index in range(section.num_azimuths)
        for log_scale in log_scales
    ]
    ranked = sorted(starts, key=_point_cost(pair, section.num_search_points))
    chosen = ranked[:_NUM_REFINED]
    lowest, highest = (math.exp(edge) * _unit_scale(pair) for edge in (lower, upper))
    if lowest <= 1 <= highest:
        chosen.append(IDENTITY)

    def exact(alignment: Alignment) -> float:
        return _chamfer(*pair.distances(alignment, first=section.num_search_points))

    scale_step = (upper - lower) / section.num_scales / 2
    steps = np.array([yaw_step / 2, scale_step, *[_TRANSLATION_STEP * pair.true_bulk.extent] * 3])
    moves = _Moves(steps, pair.true_bulk.middle, (lowest, highest))
    refined = [_refine(exact, start, moves) for start in chosen]
    _, best = min(refined, key=lambda found: found[0])
    return best


def _unit_scale(pair: _Pair) -> float:
    """Return the scale that makes the extents of mesh and truth equal; a turn changes neither."""
    return pair.true_bulk.extent / pair.mesh_bulk.extent


def _centred(pair: _Pair, yaw_deg: float, log_scale: float) -> Alignment:
    """Return the alignment that puts middle on middle, at a scale relative to equal extents."""
    scale = math.exp(log_scale) * _unit_scale(pair)
    middle = pair.mesh_bulk.middle @ _yaw_matrix(yaw_deg).T
    x, y, z = (pair.true_bulk.middle - scale * middle).tolist()
    return Alignment(yaw_deg, scale, (x, y, z))


@dataclass(frozen=True)
class _Bulk:
    """Where the bulk of a surface lies: its middle, and its extent, scene units.

    The middle is the median point by area. The extent is the root mean square distance from
    it of the nearer `_BULK_SHARE` of the area.
    """

    middle: Float[np.ndarray, " 3"]
    extent: float


def _bulk(points: _Points) -> _Bulk:
    """Return the bulk of a surface from points drawn uniformly by area."""
    middle = np.median(points, axis=0)
    squares = np.sort(((points - middle) ** 2).sum(axis=1))
    nearer = squares[: math.ceil(_BULK_SHARE * len(squares))]
    return _Bulk(middle, max(float(np.sqrt(nearer.mean())), 1e-9))


def _point_cost(pair: _Pair, num_points: int) -> _Cost:
    """Return the Chamfer distance between drawn points as a function of the alignment."""
    from scipy.spatial import KDTree

    mesh_points, true_points = pair.mesh_points[:num_points], pair.true_points[:num_points]
    mesh_tree, true_tree = KDTree(mesh_points), KDTree(true_points)

    def cost(alignment: Alignment) -> float:
        to_truth, _ = true_tree.query(alignment.apply(mesh_points))
        to_mesh, _ = mesh_tree.query(alignment.undo(true_points))
        return _chamfer(to_truth, alignment.scale * to_mesh)

    return cost


@dataclass(frozen=True)
class _Moves:
    """What the search tries: first steps of yaw, log scale and x, y, z.

    Rotation and scaling are about `pivot`, the middle of the truth, so that neither undoes
    the effect of a shift.
    """

    steps: Float[np.ndarray, " 5"]
    pivot: Float[np.ndarray, " 3"]
    scale_range: tuple[float, float]

    def moved(self, alignment: Alignment, index: int, factor: float) -> Alignment:
        """Return the alignment after `factor` of the step of one of the five numbers."""
        change = np.zeros(5)
        change[index] = factor * self.steps[index]
        yaw, log_scale, *shift = change.tolist()
        scale = float(np.clip(alignment.scale * math.exp(log_scale), *self.scale_range))
        offset = np.array(alignment.translation) - self.pivot
        turned = scale / alignment.scale * offset @ _yaw_matrix(yaw).T
        x, y, z = (self.pivot + turned + np.array(shift)).tolist()
        return Alignment((alignment.yaw_deg + yaw) % 360, scale, (x, y, z))


def _refine(cost: _Cost, start: Alignment, moves: _Moves) -> tuple[float, Alignment]:
    """Return the cost and the alignment that a pattern search reaches from `start`.

    It changes one number at a time, by its step in either direction, while the cost falls;
    then it halves the steps.
    """
    best = cost(start), start
    for halving in range(_REFINEMENT_HALVINGS):
        improved = True
        while improved:
            improved = False
            for index, direction in itertools.product(range(5), (-1, 1)):
                moved = moves.moved(best[1], index, direction / 2**halving)
                found = cost(moved)
                if found < best[0]:
                    best, improved = (found, moved), True
    return best


def _yaw_matrix(yaw_deg: float) -> Float[np.ndarray, "3 3"]:
    cosine, sine = math.cos(math.radians(yaw_deg)), math.sin(math.radians(yaw_deg))
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
