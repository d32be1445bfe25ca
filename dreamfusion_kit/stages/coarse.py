"""What a refinement starts from: an optimised field and its mesh, or an imported mesh."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit import seeding
from dreamfusion_kit.errors import MeshError, RecipeError
from dreamfusion_kit.mesh.export import albedo_file
from dreamfusion_kit.mesh.extract import BakedMesh, Facts
from dreamfusion_kit.mesh.isosurface import Isosurface
from dreamfusion_kit.mesh.material import bake_material
from dreamfusion_kit.mesh.refined import bake_refined, read_surface
from dreamfusion_kit.mesh.skin import SkinFunction, skin_albedo
from dreamfusion_kit.mesh.start import start_from
from dreamfusion_kit.mesh.textured import TexturedMesh, bake_moved, read_textured, texture_albedo
from dreamfusion_kit.model.background import build_background
from dreamfusion_kit.model.nerf import NerfModel
from dreamfusion_kit.recipe.imported import why_not_open, why_not_refined
from dreamfusion_kit.recipe.resolved import ResolvedAsset
from dreamfusion_kit.recipe.schema import MeshSection, RefineSection, VertexOffsetsSection
from dreamfusion_kit.records import Rays
from dreamfusion_kit.shape.model import SurfaceModel
from dreamfusion_kit.shape.start import Start
from dreamfusion_kit.stages.inputs import coarse_facts
from dreamfusion_kit.stages.layout import AssetLayout

SURFACE = "mesh.obj"
DrawBackground = Callable[[Rays, torch.Generator], Float[Tensor, "batch h w 3"]]


@dataclass(frozen=True)
class Coarse:
    """The start, what is drawn behind it, and the mesh whose UVs a moved surface keeps, if any."""

    start: Start
    draw_background: DrawBackground
    kept: TexturedMesh | None


def of_field(
    own: AssetLayout, resolved: ResolvedAsset, section: RefineSection, device: torch.device
) -> Coarse:
    """Return the coarse mesh in its field's colours, over the field's backgrounds."""
    field = NerfModel.load(own.field, resolved.recipe).to(device)
    return coarse_of(read_surface(own.mesh / SURFACE), field, resolved.recipe.mesh, section)


def coarse_of(
    surface: Isosurface, field: NerfModel, mesh: MeshSection, section: RefineSection
) -> Coarse:
    """Return a surface, as its OBJ has it, in its field's colours and over its backgrounds."""
    start = start_from(
        surface,
        skin_albedo(field.densities, field.albedo, mesh.texture_depth),
        bounding_radius=field.bounding_radius,
        device=field.device,
        max_faces=section.representation.max_start_faces,
    )
    return Coarse(start, lambda rays, draw: field.draw_background(rays, generator=draw), None)


def of_import(
    own: AssetLayout, resolved: ResolvedAsset, section: RefineSection, device: torch.device
) -> Coarse:
    """Return an imported mesh in its own colours, over the recipe's backgrounds.

    Raises:
        RecipeError: for a recipe that only a field can start with.
        MeshError: for an open mesh, if the representation has an inside.
    """
    if problem := why_not_refined(resolved.recipe):
        raise RecipeError(f"{resolved.id}: {problem}")
    if not coarse_facts(own)["watertight"] and (problem := why_not_open(section)):
        raise MeshError(f"{resolved.id}: {problem}")
    mesh = read_textured(own.mesh / SURFACE, own.mesh / albedo_file(own.asset))
    shape = section.representation
    if isinstance(shape, VertexOffsetsSection):
        _check_budget(resolved.id, shape, len(mesh.surface.faces))
    start = start_from(
        mesh.surface,
        texture_albedo(mesh),
        bounding_radius=resolved.recipe.bounding_radius,
        device=torch.device("cpu"),
        max_faces=None,
    )
    background = build_background(
        resolved.recipe.background, generator=seeding.generator(resolved.seed, "background_mlp")
    )
    return Coarse(
        start,
        lambda rays, draw: background(rays.directions, generator=draw),
        mesh if isinstance(shape, VertexOffsetsSection) else None,
    )


def _check_budget(where: str, shape: VertexOffsetsSection, found: int) -> None:
    """Refuse more triangles than a moved surface may have: UVs do not survive decimation."""
    if found > shape.max_faces:
        raise MeshError(
            f"{where}: found a mesh of {found} faces, expected at most {shape.max_faces}, "
            "refine.representation.max_faces; raise it, or decimate the mesh"
        )


def baked(
    coarse: Coarse, model: SurfaceModel, section: MeshSection, facts: Facts, device: torch.device
) -> BakedMesh:
    """Return the refined surface with its texture: over the UVs that it kept, or over new ones.

    `facts` are those of the mesh that it started from.
    """
    with torch.no_grad():
        surface = model.surface()
    if coarse.kept is None:
        mesh = bake_refined(surface, model.texture, section, facts=facts, device=device)
    else:
        vertices = surface.vertices.cpu().numpy().astype(np.float64)
        mesh = bake_moved(coarse.kept, vertices, _at_positions(model), device=device)
    if model.material is None:
        return mesh
    material = bake_material(
        mesh.surface,
        mesh.normals,
        mesh.atlas,
        model.material,
        varies=model.material.varies,
        texture_size_px=len(mesh.texture),
        device=device,
    )
    return replace(mesh, material=material)


def _at_positions(model: SurfaceModel) -> SkinFunction:
    return lambda positions, normals: model.texture(positions)
