"""What a UV atlas of a surface is."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class UvAtlas:
    """A surface cut into flat charts; `corners` are vertices split along the cuts.

    `faces[i]` is the surface's face i in terms of corners; `vertex_indices` leads from a
    corner back to its vertex on the surface. `is_box_projection` says that the charts are
    projections onto the sides of a box, as unwrapping would have taken too long.
    """

    uvs: Float[np.ndarray, "corners 2"]
    faces: Int[np.ndarray, "faces 3"]
    vertex_indices: Int[np.ndarray, " corners"]
    num_charts: int
    is_box_projection: bool = False
