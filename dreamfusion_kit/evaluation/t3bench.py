"""The arithmetic of T3Bench's quality score (He et al. 2023, arXiv 2310.02977).

An object is seen from the vertices of an icosphere, from each with five fields of view, and each
picture gets a reward (theirs is ImageReward's). The rewards are smoothed over the sphere, so that
a side has to be good together with its neighbours, and the best side counts. THU-LYJ-Lab/T3Bench,
`run_eval_quality.py` and `render/meshrender.py`, have the numbers.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

SUBDIVISIONS = 2  # of the icosahedron: 162 vertices
RADIUS = 2.2  # of the cameras; the mesh's vertices are centred and scaled into [-1, 1]
FOVS_Y_DEG = (60.0, 45.0, 36.0, 30.0, 24.0)
NUM_ROUNDS = 3


@dataclass(frozen=True)
class ViewSphere:
    """Camera positions that look at the origin, z up, and which of them are neighbours."""

    positions: Float[np.ndarray, "vertices 3"]
    neighbors: tuple[tuple[int, ...], ...]


def view_sphere() -> ViewSphere:
    """Return the icosphere's vertices in T3Bench's order, which numbers its pictures."""
    import trimesh  # takes a while to import, and nothing else here needs it

    sphere = trimesh.creation.icosphere(subdivisions=SUBDIVISIONS, radius=RADIUS)
    neighbors = tuple(tuple(sorted(map(int, others))) for others in sphere.vertex_neighbors)
    return ViewSphere(np.asarray(sphere.vertices), neighbors)


def quality(rewards: Float[Tensor, "vertices fovs"]) -> float:
    """Return the quality of an object, about 0 to 100, from the rewards of all its pictures.

    Args:
        rewards: One row per vertex of `view_sphere`, one column per field of view.
    """
    neighbors = view_sphere().neighbors
    if len(rewards) != len(neighbors):
        raise ValueError(f"found {len(rewards)} rows of rewards, expected {len(neighbors)}")
    scores = rewards.double().amax(dim=1)
    for _ in range(NUM_ROUNDS):
        scores = torch.stack(
            [scores[[vertex, *others]].mean() for vertex, others in enumerate(neighbors)]
        )
    return 20 * float(scores.max()) + 50
