"""An atlas that no mesh defeats: a square of texels for each pair of triangles.

Every triangle has equally many texels, whatever its size, and no two share a texel. So it suits
small meshes, and those on which unwrapping hangs or fails.
"""

import numpy as np

from dreamfusion_kit.errors import MeshError
from dreamfusion_kit.mesh.atlas import UvAtlas
from dreamfusion_kit.mesh.isosurface import Isosurface

_MIN_CELL_PX = 4  # two texels per triangle and axis, and a border between the two


def cell_atlas(surface: Isosurface, *, texture_size_px: int) -> UvAtlas:
    """Return an atlas with the faces in order, row by row from the top, two per cell.

    Raises:
        MeshError: if a cell would have fewer than four texels a side.
    """
    num_faces = len(surface.faces)
    per_side = int(np.ceil(np.sqrt((num_faces + 1) // 2)))
    if texture_size_px // per_side < _MIN_CELL_PX:
        raise MeshError(
            f"{num_faces} faces do not fit a texture of {texture_size_px} pixels in cells of "
            f"{_MIN_CELL_PX}; expected fewer; decimate the model or raise mesh.texture_size_px"
        )
    cell = texture_size_px // per_side
    index = np.arange(num_faces)
    column, row = (index // 2) % per_side, (index // 2) // per_side
    # In texels from the cell's upper left; the second triangle of a cell is the first, turned.
    near, far = 0.5, cell - 2.0
    first = np.array([[near, near], [far, near], [near, far]])
    second = cell - first
    local = np.where((index % 2 == 0)[:, None, None], first, second)
    texels = local + (np.stack([column, row], axis=-1) * cell)[:, None, :]
    uvs = texels.reshape(-1, 2) / texture_size_px
    uvs[:, 1] = 1 - uvs[:, 1]
    return UvAtlas(
        uvs=uvs,
        faces=np.arange(3 * num_faces).reshape(-1, 3),
        vertex_indices=surface.faces.ravel().astype(np.int64),
        num_charts=num_faces,
    )
