"""The rotation about the up axis, the scale and the shift that bring a mesh nearest to the truth.

A search over a coarse grid, then a pattern search from its best candidates.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dreamfusion_kit.evaluation.surface_pair import (
    IDENTITY,
    Alignment,
    SurfacePair,
    chamfer,
    yaw_matrix,
)
from dreamfusion_kit.recipe.evaluation import GeometrySection

_NUM_REFINED = 3  # coarse candidates that are refined
_REFINEMENT_HALVINGS = 6
_TRANSLATION_STEP = 0.1  # of the truth's extent, before halving

_Cost = Callable[[Alignment], float]


def align(pair: SurfacePair, section: GeometrySection) -> Alignment:
    """Return the yaw, scale and translation of least Chamfer distance.

    Each yaw of a coarse grid starts with the middle of the turned mesh on the middle of the
    truth; scale 1 makes their extents equal. Middle and extent are those of the bulk of the
    surface (`surface_pair.bulk`), so that a spike or a flake moves neither. All pairs of yaw and
    scale are ranked by distances between drawn points, which are cheap far away. The best few,
    and the unaligned mesh, are refined by exact distances in all five numbers, inside the
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
        return chamfer(*pair.distances(alignment, first=section.num_search_points))

    scale_step = (upper - lower) / section.num_scales / 2
    steps = np.array([yaw_step / 2, scale_step, *[_TRANSLATION_STEP * pair.true_bulk.extent] * 3])
    moves = _Moves(steps, pair.true_bulk.middle, (lowest, highest))
    refined = [_refine(exact, start, moves) for start in chosen]
    _, best = min(refined, key=lambda found: found[0])
    return best


def _unit_scale(pair: SurfacePair) -> float:
    """Return the scale that makes the extents of mesh and truth equal; a turn changes neither."""
    return pair.true_bulk.extent / pair.mesh_bulk.extent


def _centred(pair: SurfacePair, yaw_deg: float, log_scale: float) -> Alignment:
    """Return the alignment that puts middle on middle, at a scale relative to equal extents."""
    scale = math.exp(log_scale) * _unit_scale(pair)
    middle = pair.mesh_bulk.middle @ yaw_matrix(yaw_deg).T
    x, y, z = (pair.true_bulk.middle - scale * middle).tolist()
    return Alignment(yaw_deg, scale, (x, y, z))


def _point_cost(pair: SurfacePair, num_points: int) -> _Cost:
    """Return the Chamfer distance between drawn points as a function of the alignment."""
    from scipy.spatial import KDTree

    mesh_points, true_points = pair.mesh_points[:num_points], pair.true_points[:num_points]
    mesh_tree, true_tree = KDTree(mesh_points), KDTree(true_points)

    def cost(alignment: Alignment) -> float:
        to_truth, _ = true_tree.query(alignment.apply(mesh_points))
        to_mesh, _ = mesh_tree.query(alignment.undo(true_points))
        return chamfer(to_truth, alignment.scale * to_mesh)

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
        turned = scale / alignment.scale * offset @ yaw_matrix(yaw).T
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
