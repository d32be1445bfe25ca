"""A textured mesh read back from the kit's own OBJ, and moved without losing its UVs."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from dreamfusion_kit.errors import MeshError
from dreamfusion_kit.mesh.atlas import UvAtlas
from dreamfusion_kit.mesh.clean import measure
from dreamfusion_kit.mesh.export import Y_UP_AXES_OF_WORLD
from dreamfusion_kit.mesh.extract import BakedMesh, Facts, texture_facts
from dreamfusion_kit.mesh.imported.place import split_at_creases, vertex_normals
from dreamfusion_kit.mesh.isosurface import Isosurface
from dreamfusion_kit.mesh.skin import SkinFunction
from dreamfusion_kit.mesh.texture import bake_texture, query_colors
from dreamfusion_kit.open3d_library import open3d


@dataclass(frozen=True)
class TexturedMesh:
    """A surface of which every vertex occurs once, the UVs of its faces' corners, and the image.

    `uvs` have v = 0 at the image's last row.
    """

    surface: Isosurface
    uvs: Float[np.ndarray, "faces 3 2"]
    image: UInt8[np.ndarray, "h w 3"]


def read_textured(path: Path, image: Path) -> TexturedMesh:
    """Return the mesh of an OBJ of `mesh.export`, in world axes, with its texture.

    Raises:
        MeshError: if a file is missing or damaged.
    """
    try:
        mesh = trimesh.load_mesh(path, process=False, maintain_order=True)
        visual: Any = mesh.visual
        uvs = np.asarray(visual.uv, dtype=np.float64)
        split = np.asarray(mesh.vertices, dtype=np.float64)[:, Y_UP_AXES_OF_WORLD]
        vertices, one = np.unique(split, axis=0, return_inverse=True)
        faces = np.asarray(mesh.faces, dtype=np.int64)
        with Image.open(image) as opened:
            pixels = np.asarray(opened.convert("RGB"))
    except Exception as error:  # a damaged file can raise anything from inside the parser
        raise MeshError(
            f"{path}: cannot be read as a textured mesh ({type(error).__name__}); run the mesh "
            "stage again"
        ) from error
    return TexturedMesh(
        surface=Isosurface(vertices, one.reshape(-1)[faces].astype(np.int64)),
        uvs=uvs[faces],
        image=pixels,
    )


def texture_albedo(mesh: TexturedMesh) -> SkinFunction:
    """Return the colour of the nearest point of a textured mesh, bilinear in its image, in [0, 1].

    Computed on the CPU; the answer is on the device of the positions.
    """
    scene = open3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        open3d.core.Tensor.from_numpy(mesh.surface.vertices.astype(np.float32)),
        open3d.core.Tensor.from_numpy(mesh.surface.faces.astype(np.uint32)),
    )
    image = torch.from_numpy(mesh.image.astype(np.float32) / 255).movedim(-1, 0)[None]

    def seen(
        positions: Float[Tensor, "samples 3"], normals: Float[Tensor, "samples 3"]
    ) -> Float[Tensor, "samples 3"]:
        query = open3d.core.Tensor.from_numpy(positions.detach().cpu().numpy())
        nearest = scene.compute_closest_points(query)
        weights = nearest["primitive_uvs"].numpy().astype(np.float64)
        weights = np.concatenate([1 - weights.sum(axis=1, keepdims=True), weights], axis=1)
        corners = mesh.uvs[nearest["primitive_ids"].numpy()]
        u, v = np.einsum("pk,pkc->cp", weights, corners).astype(np.float32)
        grid = torch.from_numpy(np.stack([2 * u - 1, 1 - 2 * v], axis=-1))[None, None]
        found = torch.nn.functional.grid_sample(
            image, grid, mode="bilinear", padding_mode="border", align_corners=False
        )
        return found[0, :, 0].T.to(positions.device)

    return seen


def bake_moved(
    mesh: TexturedMesh,
    vertices: Float[np.ndarray, "vertices 3"],
    albedo: SkinFunction,
    *,
    device: torch.device,
) -> BakedMesh:
    """Return the mesh with its vertices elsewhere, and other colours in a texture over its own UVs.

    Edges that are sharp where the vertices are now have two normals, as in an import.

    Args:
        mesh: As read; its faces and UVs stay.
        vertices: In the order of the mesh's.
        albedo: The new colours.
        device: Where `albedo` computes.
    """
    moved = Isosurface(vertices, mesh.surface.faces)
    old, faces = split_at_creases(moved.vertices, moved.faces)
    surface = Isosurface(moved.vertices[old], faces)
    normals = vertex_normals(surface.vertices, faces)
    rows = np.column_stack([faces.ravel(), mesh.uvs.reshape(-1, 2)])
    unique, inverse = np.unique(rows, axis=0, return_inverse=True)
    atlas = UvAtlas(
        uvs=unique[:, 1:],
        faces=inverse.reshape(faces.shape).astype(np.int64),
        vertex_indices=unique[:, 0].astype(np.int64),
        num_charts=1,
    )
    size = max(mesh.image.shape[:2])
    facts: Facts = dataclasses.asdict(measure(moved, dropped_components=0))
    return BakedMesh(
        surface=surface,
        normals=normals,
        vertex_colors=query_colors(albedo, surface.vertices, normals, device=device),
        atlas=atlas,
        texture=bake_texture(surface, normals, atlas, albedo, texture_size_px=size, device=device),
        facts={**facts, **texture_facts(atlas, size)},
    )
