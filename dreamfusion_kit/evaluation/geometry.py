"""Distances between a mesh and the true shape of a toybox object.

An asset made from text has no canonical azimuth, place or size, so every measure is taken
twice: on the mesh as it is (`_raw`), and at the alignment that brings it nearest to the truth.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.errors import EvaluationError
from dreamfusion_kit.evaluation.align import align
from dreamfusion_kit.evaluation.surface import Surface, is_watertight
from dreamfusion_kit.evaluation.surface_pair import (
    IDENTITY,
    Alignment,
    Points,
    SurfacePair,
    bounds,
    chamfer,
    normal_angle,
)
from dreamfusion_kit.recipe.evaluation import GeometrySection

SignedDistance = Callable[[Tensor], Tensor]
"""Signed distances `samples` of positions `samples 3`, negative inside; only the sign and the
zero level are used, so that a lower bound of the distance will do."""

_CHUNK = 1 << 18  # positions per call of a signed distance: bounds the memory


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
    pair = SurfacePair(mesh, truth, section.num_points, generator=generator)
    best = align(pair, section)
    distance, resolution = section.f_score_distance, section.iou_resolution
    aligned, raw = pair.distances(best), pair.distances(IDENTITY)
    if chamfer(*raw) < chamfer(*aligned):  # the search draws fewer points, in a coarse grid
        best, aligned = IDENTITY, raw
    return GeometryMetrics(
        chamfer=chamfer(*aligned),
        f_score=_f_score(*aligned, distance),
        iou=_volumetric_iou(pair, signed_distance, best, resolution),
        normal_angle=normal_angle(pair, best),
        chamfer_raw=chamfer(*raw),
        f_score_raw=_f_score(*raw, distance),
        iou_raw=_volumetric_iou(pair, signed_distance, IDENTITY, resolution),
        yaw_deg=best.yaw_deg,
        scale=best.scale,
        watertight=is_watertight(mesh),
    )


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


def _evaluated(signed_distance: SignedDistance, points: Points) -> Float[np.ndarray, " points"]:
    positions = torch.from_numpy(points.astype(np.float32))
    with torch.no_grad():
        return torch.cat([signed_distance(part) for part in positions.split(_CHUNK)]).numpy()


def _f_score(
    to_truth: Float[np.ndarray, " points"], to_mesh: Float[np.ndarray, " points"], distance: float
) -> float:
    precision, recall = float((to_truth < distance).mean()), float((to_mesh < distance).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def _volumetric_iou(
    pair: SurfacePair, signed_distance: SignedDistance, alignment: Alignment, resolution: int
) -> float:
    """Return the volume inside both over the volume inside either.

    Counted at the centres of cubic cells over the two bounding boxes, with `resolution`
    cells along their longest side.
    """
    mesh_bounds = bounds(alignment.apply(pair.mesh_vertices))
    corners = np.concatenate([mesh_bounds, pair.true_bounds])
    centers = _cell_centers(corners.min(axis=0), corners.max(axis=0), resolution)
    in_truth = _evaluated(signed_distance, centers) < 0
    in_mesh = pair.mesh_index.contains(alignment.undo(centers))
    return float((in_mesh & in_truth).sum() / (in_mesh | in_truth).sum())


def _cell_centers(
    lower: Float[np.ndarray, " 3"], upper: Float[np.ndarray, " 3"], resolution: int
) -> Points:
    size = float((upper - lower).max()) / resolution
    counts = np.ceil((upper - lower) / size - 1e-9).astype(int).clip(min=1)
    axes = [low + size * (np.arange(n) + 0.5) for low, n in zip(lower, counts, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
