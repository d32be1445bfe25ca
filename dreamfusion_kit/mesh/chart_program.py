"""Unwraps a surface in a process of its own: `python -m ... IN OUT SECONDS TEXELS PADDING`.

xatlas never ends on some meshes, and cannot be interrupted. This process may take SECONDS of
processor time, in all threads together, then the system ends it. It is given arrays and gives
arrays back; it imports nothing heavy, since it starts once per mesh.
"""

import resource
import sys
from pathlib import Path

import numpy as np
import xatlas

from dreamfusion_kit.supervision import end_with_parent


def main() -> None:
    """Unwrap `vertices` and `faces` of the file IN into `vertex_indices`, `faces`, `uvs`."""
    end_with_parent()
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    seconds, texels, padding = (int(argument) for argument in sys.argv[3:])
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with np.load(source, allow_pickle=False) as given:
        vertices, faces = given["vertices"], given["faces"]
    atlas = xatlas.Atlas()
    atlas.add_mesh(vertices, faces)
    options = xatlas.PackOptions()
    options.resolution = texels
    options.padding = padding
    options.create_image = False
    atlas.generate(xatlas.ChartOptions(), options)
    vertex_indices, faces, uvs = atlas[0]
    count = np.array(atlas.chart_count)
    np.savez(target, vertex_indices=vertex_indices, faces=faces, uvs=uvs, count=count)


if __name__ == "__main__":
    main()
