"""Write a textured mesh as GLB, OBJ + MTL + PNG, PLY and a JSON of facts.

The GLB is y-up, as glTF requires: the object's front (world +x) looks along glTF's +z and
world up (+z) along its +y. OBJ and PLY define no up direction and keep world coordinates
(z up, front +x), so that they can be compared with the field directly.

Equal meshes give equal bytes: no file holds a time, a path or a random name.
"""

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from PIL import Image
from trimesh import Scene, Trimesh
from trimesh.exchange.gltf import export_glb
from trimesh.exchange.ply import export_ply
from trimesh.visual.material import PBRMaterial
from trimesh.visual.texture import TextureVisuals

from dreamfusion_kit.image_files import png_bytes
from dreamfusion_kit.mesh.extract import BakedMesh

# glTF x, y, z are world y, z, x: a rotation that only renames axes, hence exact.
_WORLD_AXES_OF_GLTF = [1, 2, 0]

_MTL = """newmtl albedo
Ka 1 1 1
Kd 1 1 1
Ks 0 0 0
illum 1
map_Kd albedo.png
"""

# Clamped, so that the texture's opposite borders never mix; trilinear.
_SAMPLER = {"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}


def write_mesh(directory: Path, mesh: BakedMesh, *, provenance: Mapping[str, Any]) -> None:
    """Write mesh.{glb,obj,mtl,ply,json} and albedo.png into an existing directory.

    `provenance` is any JSON object; it goes into the GLB's `asset.extras`.
    """
    (directory / "mesh.glb").write_bytes(glb_bytes(mesh, provenance=provenance))
    (directory / "mesh.obj").write_bytes(obj_text(mesh).encode())
    (directory / "mesh.mtl").write_bytes(_MTL.encode())
    (directory / "albedo.png").write_bytes(png_bytes(mesh.texture))
    (directory / "mesh.ply").write_bytes(ply_bytes(mesh))
    (directory / "mesh.json").write_bytes(facts_json(mesh).encode())


def glb_bytes(mesh: BakedMesh, *, provenance: Mapping[str, Any]) -> bytes:
    """Return a glTF 2.0 binary with normals, UVs, the embedded texture and provenance."""
    corners = mesh.atlas.vertex_indices
    material = PBRMaterial(
        name="albedo",
        baseColorTexture=Image.open(io.BytesIO(png_bytes(mesh.texture))),
        metallicFactor=0.0,
        roughnessFactor=1.0,
    )
    geometry = Trimesh(
        vertices=mesh.surface.vertices[corners][:, _WORLD_AXES_OF_GLTF],
        faces=mesh.atlas.faces,
        vertex_normals=mesh.normals[corners][:, _WORLD_AXES_OF_GLTF],
        visual=TextureVisuals(uv=mesh.atlas.uvs, material=material),
        process=False,
    )

    def complete(tree: dict[str, Any]) -> None:
        tree["asset"] = {"version": "2.0", "generator": "dreamfusion-kit", "extras": provenance}
        tree["samplers"] = [_SAMPLER]
        tree["textures"][0]["sampler"] = 0

    return export_glb(Scene({"mesh": geometry}), include_normals=True, tree_postprocessor=complete)


def obj_text(mesh: BakedMesh) -> str:
    """Return the OBJ. Its faces index positions and UVs separately, so the surface stays closed.

    Trimesh's writer would repeat each vertex along the charts' borders.
    """
    lines = ["# dreamfusion-kit, world coordinates: z up, front +x", "mtllib mesh.mtl", "o mesh"]
    lines += _rows("v", mesh.surface.vertices)
    lines += _rows("vt", mesh.atlas.uvs)
    lines += _rows("vn", mesh.normals)
    lines += ["usemtl albedo"]
    lines += _face_rows(mesh.surface.faces + 1, mesh.atlas.faces + 1)
    return "\n".join(lines) + "\n"


def ply_bytes(mesh: BakedMesh) -> bytes:
    """Return a binary PLY with vertex normals and 8 bit vertex colours."""
    geometry = Trimesh(
        vertices=mesh.surface.vertices,
        faces=mesh.surface.faces,
        vertex_normals=mesh.normals,
        vertex_colors=mesh.vertex_colors,
        process=False,
    )
    return export_ply(geometry, vertex_normal=True)


def facts_json(mesh: BakedMesh) -> str:
    """Return the mesh's facts, keys sorted."""
    return json.dumps(mesh.facts, indent=2, sort_keys=True, allow_nan=False) + "\n"


def _rows(tag: str, values: Float[np.ndarray, "rows columns"]) -> list[str]:
    """Format one line per row, with the digits that float32 carries."""
    return [f"{tag} " + " ".join(f"{value:.7g}" for value in row) for row in values.tolist()]


def _face_rows(vertex: Int[np.ndarray, "faces 3"], corner: Int[np.ndarray, "faces 3"]) -> list[str]:
    triples = zip(vertex.tolist(), corner.tolist(), strict=True)
    return [
        "f " + " ".join(f"{v}/{vt}/{v}" for v, vt in zip(vs, vts, strict=True))
        for vs, vts in triples
    ]
