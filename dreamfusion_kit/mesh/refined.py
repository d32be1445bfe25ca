"""From a refined surface and its texture to a baked mesh; and from files to the coarse surface."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import trimesh
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.errors import MeshError
from dreamfusion_kit.mesh.clean import clean_surface
from dreamfusion_kit.mesh.export import Y_UP_AXES_OF_WORLD
from dreamfusion_kit.mesh.extract import BakedMesh, Facts, bake
from dreamfusion_kit.mesh.isosurface import Isosurface
from dreamfusion_kit.recipe.schema import MeshSection
from dreamfusion_kit.records import Surface

FIELD_FACTS = (
    "grid_resolution",
    "density_threshold",
    "density_max",
    "occupied_fraction",
    "filled_cavity_fraction",
)
"""Facts of the coarse field, which a refined mesh keeps; an imported mesh has none."""


def bake_refined(
    surface: Surface,
    albedo: Callable[[Float[Tensor, "samples 3"]], Float[Tensor, "samples 3"]],
    section: MeshSection,
    *,
    facts: Facts,
    device: torch.device,
) -> BakedMesh:
    """Return the surface, cleaned as a coarse one is, with its albedo baked into a texture.

    Args:
        surface: The refined surface; faces turn counter-clockwise seen from outside.
        albedo: At positions, in [0, 1].
        section: Face budget, smoothing and the texture's size.
        facts: Those of the coarse mesh.
        device: Where `albedo` computes.

    Raises:
        MeshError: if nothing is left of the surface.
    """
    if len(surface.faces) == 0:
        raise MeshError("refine: the surface has no faces; lower its learning rate")
    found = Isosurface(
        surface.vertices.detach().cpu().numpy().astype(np.float64), surface.faces.cpu().numpy()
    )
    cleaned, surface_facts = clean_surface(found, section)
    kept: Facts = {name: facts[name] for name in FIELD_FACTS if name in facts}

    def seen(
        positions: Float[Tensor, "samples 3"], normals: Float[Tensor, "samples 3"]
    ) -> Float[Tensor, "samples 3"]:
        return albedo(positions)

    return bake(cleaned, surface_facts, seen, section, facts=kept, device=device)


def read_surface(path: Path) -> Isosurface:
    """Return the surface of an OBJ of `mesh.export`, in world axes, every vertex once.

    Raises:
        MeshError: if the file is missing or damaged.
    """
    try:
        mesh = trimesh.load_mesh(path, process=False)
        mesh.merge_vertices(merge_tex=True, merge_norm=True)  # split along the charts' borders
        return Isosurface(
            np.asarray(mesh.vertices, dtype=np.float64)[:, Y_UP_AXES_OF_WORLD],
            np.asarray(mesh.faces, dtype=np.int64),
        )
    except Exception as error:  # a damaged file can raise anything from inside the parser
        raise MeshError(
            f"{path}: cannot be read as a mesh ({type(error).__name__}); run the mesh stage again"
        ) from error
