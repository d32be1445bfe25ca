"""From a field to a textured mesh: every step of this package, in order."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8

from dreamfusion_kit.mesh.atlas import UvAtlas
from dreamfusion_kit.mesh.clean import SurfaceFacts, clean_surface, vertex_normals
from dreamfusion_kit.mesh.density_grid import DensityGrid, fill_cavities, sample_density_grid
from dreamfusion_kit.mesh.isosurface import Isosurface, extract_isosurface
from dreamfusion_kit.mesh.material import PLAIN, SurfaceMaterial
from dreamfusion_kit.mesh.query import AlbedoFunction, DensityFunction
from dreamfusion_kit.mesh.skin import SkinFunction, skin_albedo
from dreamfusion_kit.mesh.texture import bake_texture, query_colors
from dreamfusion_kit.mesh.threshold import surface_threshold
from dreamfusion_kit.mesh.unwrap import unwrap
from dreamfusion_kit.recipe.schema import MeshSection

Facts = dict[str, float | int | bool]


@dataclass(frozen=True)
class BakedMesh:
    """A closed surface with its colours, in world coordinates, and what was measured.

    `normals` and `vertex_colors` belong to the surface's vertices; `texture` to the atlas,
    row 0 on top; `facts` is ready for JSON.
    """

    surface: Isosurface
    normals: Float[np.ndarray, "vertices 3"]
    vertex_colors: UInt8[np.ndarray, "vertices 3"]
    atlas: UvAtlas
    texture: UInt8[np.ndarray, "h w 3"]
    facts: Facts
    material: SurfaceMaterial = PLAIN


def extract_mesh(
    densities: DensityFunction,
    albedo: AlbedoFunction,
    section: MeshSection,
    *,
    bounding_radius: float,
    device: torch.device,
) -> BakedMesh:
    """Return the textured surface of a field that lives in a ball of `bounding_radius`.

    `densities` (>= 0, per scene unit) and `albedo` (in [0, 1]) are queried at float32
    positions on `device`, without gradients. Raises `MeshError` if no surface exists.
    """
    sampled = sample_density_grid(
        densities,
        bounding_radius=bounding_radius,
        resolution=section.grid_resolution,
        device=device,
    )
    threshold = surface_threshold(section.threshold, sampled)
    grid, cavity_points = fill_cavities(sampled, threshold)
    surface, surface_facts = clean_surface(extract_isosurface(grid, threshold), section)
    seen = skin_albedo(densities, albedo, section.texture_depth)
    facts = _density_facts(sampled, threshold, cavity_points)
    return bake(surface, surface_facts, seen, section, facts=facts, device=device)


def bake(
    surface: Isosurface,
    surface_facts: SurfaceFacts,
    seen: SkinFunction,
    section: MeshSection,
    *,
    facts: Facts,
    device: torch.device,
) -> BakedMesh:
    """Return a clean surface with its colours in a texture.

    Args:
        surface: As `clean_surface` returns it.
        surface_facts: What that measured.
        seen: Its colours.
        section: The texture's size.
        facts: What is known beside that.
        device: Where `seen` computes.
    """
    normals = vertex_normals(surface)
    size = section.texture_size_px
    atlas = unwrap(surface, texture_size_px=size)
    return BakedMesh(
        surface=surface,
        normals=normals,
        vertex_colors=query_colors(seen, surface.vertices, normals, device=device),
        atlas=atlas,
        texture=bake_texture(surface, normals, atlas, seen, texture_size_px=size, device=device),
        facts={**facts, **_surface_facts(surface_facts, atlas, size)},
    )


def _density_facts(grid: DensityGrid, threshold: float, cavity_points: int) -> Facts:
    """Return statistics of the lattice; fractions are of the points inside the ball."""
    num_sampled = int(grid.sampled.sum())
    return {
        "grid_resolution": len(grid.values),
        "density_threshold": threshold,
        "density_max": float(grid.values.max()),
        "occupied_fraction": float((grid.values > threshold).sum()) / num_sampled,
        "filled_cavity_fraction": cavity_points / num_sampled,
    }


def _surface_facts(facts: SurfaceFacts, atlas: UvAtlas, texture_size_px: int) -> Facts:
    return {**dataclasses.asdict(facts), **texture_facts(atlas, texture_size_px)}


def texture_facts(atlas: UvAtlas, texture_size_px: int) -> Facts:
    """Return what mesh.json says of an atlas; that it is a box projection, where it is one."""
    facts: Facts = {"texture_size_px": texture_size_px, "texture_charts": atlas.num_charts}
    return facts | ({"texture_box_projected": True} if atlas.is_box_projection else {})
