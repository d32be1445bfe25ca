"""A UV atlas of a surface: by xatlas, or by box projection if xatlas does not finish.

xatlas has a budget of processor time, about a hundred times what a mesh of that size needs
(1.0 s for 10,000 faces on one core), so a busy machine does not change the result. A mesh either
needs a small part of the budget or hangs, so a slower machine does not change it either. Running
out of it is not an error, because the mesh may have taken hours to optimise. mesh.json says which
atlas was used.
"""

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from dreamfusion_kit.errors import MeshError
from dreamfusion_kit.mesh import chart_program
from dreamfusion_kit.mesh.atlas import UvAtlas
from dreamfusion_kit.mesh.box_projection import box_atlas
from dreamfusion_kit.mesh.isosurface import Isosurface

CHART_PADDING_TEXELS = 4  # neighbouring charts stay apart down to the second mip level

_SECONDS, _SECONDS_PER_FACE = 60, 0.01  # of processor time
_WAITING = 20  # wall time per processor time after which a process does not work but waits


def unwrap(surface: Isosurface, *, texture_size_px: int, budget_s: float | None = None) -> UvAtlas:
    """Cut the surface into charts and pack them for a texture of the given size.

    xatlas took 1.0 s for 10,000 faces on one core, Open3D's UVAtlas 16 s for charts that
    fill a tenth more of the texture. Its result does not depend on the number of threads.

    Args:
        surface: Any triangles.
        texture_size_px: Side of the texture.
        budget_s: Processor time after which the surface is projected onto a box instead.

    Raises:
        MeshError: if xatlas ends without a result, or the charts do not fit the texture.
    """
    if budget_s is None:
        budget_s = _SECONDS + _SECONDS_PER_FACE * len(surface.faces)
    found = _charts(surface, texture_size_px, round(budget_s))
    return box_atlas(surface, texture_size_px=texture_size_px) if found is None else found


def _charts(surface: Isosurface, texture_size_px: int, budget_s: int) -> UvAtlas | None:
    """Return xatlas's charts; None if its budget was not enough."""
    with tempfile.TemporaryDirectory(prefix="dreamfusion-kit-") as folder:
        given, made = Path(folder) / "surface.npz", Path(folder) / "atlas.npz"
        np.savez(
            given,
            vertices=surface.vertices.astype(np.float32),
            faces=surface.faces.astype(np.uint32),
        )
        numbers = (budget_s, texture_size_px, CHART_PADDING_TEXELS)
        program = chart_program.__name__  # imported, so that its code is part of the stage's digest
        command = [sys.executable, "-m", program, str(given), str(made), *map(str, numbers)]
        try:
            done = subprocess.run(
                command, capture_output=True, check=False, timeout=_WAITING * max(budget_s, 60)
            )
        except subprocess.TimeoutExpired:
            raise _failed(surface, "waited without working") from None
        if done.returncode == -signal.SIGXCPU:
            return None
        if done.returncode != 0:
            raise _failed(surface, f"ended with status {done.returncode}")
        with np.load(made, allow_pickle=False) as atlas:
            return UvAtlas(
                uvs=atlas["uvs"].astype(np.float64),
                faces=atlas["faces"].astype(np.int64),
                vertex_indices=atlas["vertex_indices"].astype(np.int64),
                num_charts=int(atlas["count"]),
            )


def _failed(surface: Isosurface, what: str) -> MeshError:
    return MeshError(
        f"mesh: unwrapping {len(surface.faces)} faces {what}; expected charts; lower "
        "mesh.max_faces, or check the installation of xatlas"
    )
