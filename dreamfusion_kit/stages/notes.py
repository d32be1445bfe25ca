"""What a stage tells on stderr about a result that is not quite what was asked for."""

import sys

from dreamfusion_kit.mesh.extract import BakedMesh


def note_box_projection(asset: str, mesh: BakedMesh) -> None:
    """Say that a mesh's atlas is a box projection, if unwrapping took too long for another."""
    if mesh.atlas.is_box_projection:
        print(
            f"{asset}: unwrapping took too long, its texture is projected onto a box "
            f"({mesh.atlas.num_charts} charts); a lower mesh.max_faces may unwrap",
            file=sys.stderr,
        )
