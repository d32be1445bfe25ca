"""Write a textured mesh as GLB, OBJ + MTL + PNG, PLY, STL and USDZ, and a JSON of facts.

GLB, OBJ and USDZ are y-up, as glTF requires and as Blender, Unity and three.js read an OBJ: the
object's front (world +x) looks along their +z and world up (+z) along their +y. PLY and STL
keep world coordinates (z up, front +x), as slicers and point cloud tools read them.

Objects, meshes, materials and images carry the asset's id, so that several assets in one scene
can be told apart. Equal meshes give equal bytes: no file holds a time, a path or a random name.
"""

import io
import json
import struct
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image
from trimesh import Scene, Trimesh
from trimesh.exchange.gltf import export_glb
from trimesh.exchange.ply import export_ply
from trimesh.visual.material import PBRMaterial
from trimesh.visual.texture import TextureVisuals

from dreamfusion_kit.image_files import png_bytes
from dreamfusion_kit.mesh.extract import BakedMesh
from dreamfusion_kit.mesh.usd import UsdObject, usdz_bytes
from dreamfusion_kit.recipe.schema import MeshFormat

# y-up x, y, z are world y, z, x: a rotation that only renames axes, hence exact.
WORLD_AXES_OF_Y_UP = [1, 2, 0]
Y_UP_AXES_OF_WORLD = [2, 0, 1]

_MTL = """newmtl {name}
Ka 1 1 1
Kd 1 1 1
Ks 0 0 0
illum 1
map_Kd {image}
"""
# The extension for physically based materials, which Blender and others read.
_MTL_PBR = "Pr {roughness:g}\nPm {metallic:g}\n"
_MTL_PBR_MAPS = "map_Pr {name}_roughness.png\nmap_Pm {name}_metallic.png\n"

# Clamped, so that the texture's opposite borders never mix; trilinear.
SAMPLER = {"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}
_VERTEX_BUFFER, _INDEX_BUFFER = 34962, 34963  # glTF's names for what a buffer view holds


def write_mesh(
    directory: Path,
    mesh: BakedMesh,
    *,
    name: str,
    formats: Collection[MeshFormat],
    provenance: Mapping[str, Any],
) -> None:
    """Write mesh.json and mesh.SUFFIX for each format into an existing directory.

    An OBJ comes with mesh.mtl and its image, `albedo_file(name)`.

    Args:
        directory: Where to.
        mesh: What to write.
        name: The asset's id, of a-z, 0-9 and _.
        formats: Which files; usdz needs usd-core.
        provenance: Any JSON object; it goes into the GLB's `asset.extras`.

    Raises:
        MissingExtraError: if usdz is asked for and usd-core is not installed.
    """
    if "glb" in formats:
        (directory / "mesh.glb").write_bytes(glb_bytes(mesh, name=name, provenance=provenance))
    if "obj" in formats:
        (directory / "mesh.obj").write_bytes(obj_text(mesh, name=name).encode())
        (directory / "mesh.mtl").write_bytes(mtl_text(mesh, name=name).encode())
        for file, content in _material_maps(mesh, name).items():
            (directory / file).write_bytes(content)
        (directory / albedo_file(name)).write_bytes(png_bytes(mesh.texture))
    if "ply" in formats:
        (directory / "mesh.ply").write_bytes(ply_bytes(mesh, name=name))
    if "stl" in formats:
        (directory / "mesh.stl").write_bytes(stl_bytes(mesh, name=name))
    if "usdz" in formats:
        (directory / "mesh.usdz").write_bytes(usdz_bytes(name, [usd_object(mesh, name=name)]))
    (directory / "mesh.json").write_bytes(facts_json(mesh).encode())


def mtl_text(mesh: BakedMesh, *, name: str) -> str:
    """Return the MTL: colour alone, or with roughness and metallic where the mesh has them."""
    text = _MTL.format(name=name, image=albedo_file(name))
    if mesh.material.is_plain:
        return text
    roughness, metallic = mesh.material.means()
    text += _MTL_PBR.format(roughness=roughness, metallic=metallic)
    return text if mesh.material.image is None else text + _MTL_PBR_MAPS.format(name=name)


def _material_maps(mesh: BakedMesh, name: str) -> dict[str, bytes]:
    """Return the images that an MTL names, one per value, by file name."""
    image = mesh.material.image
    if image is None:
        return {}
    channels = {"roughness": image[..., 1:2], "metallic": image[..., 2:3]}
    return {
        f"{name}_{key}.png": png_bytes(channel.repeat(3, axis=-1))
        for key, channel in channels.items()
    }


def albedo_file(name: str) -> str:
    """Return the file name of an asset's albedo image."""
    return f"{name}_albedo.png"


def glb_bytes(mesh: BakedMesh, *, name: str, provenance: Mapping[str, Any]) -> bytes:
    """Return a glTF 2.0 binary with normals, UVs, the embedded texture and provenance."""
    corners = mesh.atlas.vertex_indices
    image = mesh.material.image
    material = PBRMaterial(
        name=name,
        baseColorTexture=_as_png(mesh.texture),
        metallicRoughnessTexture=None if image is None else _as_png(image),
        metallicFactor=mesh.material.metallic,
        roughnessFactor=mesh.material.roughness,
    )
    geometry = Trimesh(
        vertices=mesh.surface.vertices[corners][:, WORLD_AXES_OF_Y_UP],
        faces=mesh.atlas.faces,
        vertex_normals=mesh.normals[corners][:, WORLD_AXES_OF_Y_UP],
        visual=TextureVisuals(uv=mesh.atlas.uvs, material=material),
        process=False,
    )

    def complete(tree: dict[str, Any]) -> None:
        tree["asset"] = {"version": "2.0", "generator": "dreamfusion-kit", "extras": provenance}
        tree["samplers"] = [SAMPLER]
        surface = tree["materials"][0]["pbrMetallicRoughness"]
        named = {"baseColorTexture": (name, "albedo")}
        if image is not None:
            named["metallicRoughnessTexture"] = (f"{name}_material", "material")
        for key, (texture, kind) in named.items():
            index = surface[key]["index"]
            tree["textures"][index] |= {"sampler": 0, "name": texture}
            tree["images"][tree["textures"][index]["source"]]["name"] = f"{name}_{kind}"
        name_buffer_views(tree)

    return export_glb(Scene({name: geometry}), include_normals=True, tree_postprocessor=complete)


def _as_png(image: UInt8[np.ndarray, "h w 3"]) -> Image.Image:
    """Return an image that is written with the bytes of `png_bytes`."""
    return Image.open(io.BytesIO(png_bytes(image)))


def name_buffer_views(tree: dict[str, Any]) -> None:
    """Say in a glTF which buffer views hold vertices and which indices, as its validator asks."""
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            for accessor in primitive["attributes"].values():
                view = tree["accessors"][accessor]["bufferView"]
                tree["bufferViews"][view]["target"] = _VERTEX_BUFFER
            view = tree["accessors"][primitive["indices"]]["bufferView"]
            tree["bufferViews"][view]["target"] = _INDEX_BUFFER


def obj_text(mesh: BakedMesh, *, name: str) -> str:
    """Return the OBJ. Its faces index positions and UVs separately, so the surface stays closed.

    Trimesh's writer would repeat each vertex along the charts' borders.
    """
    lines = ["# dreamfusion-kit: y up, front +z", "mtllib mesh.mtl", f"o {name}"]
    lines += _rows("v", mesh.surface.vertices[:, WORLD_AXES_OF_Y_UP])
    lines += _rows("vt", mesh.atlas.uvs)
    lines += _rows("vn", mesh.normals[:, WORLD_AXES_OF_Y_UP])
    lines += [f"usemtl {name}"]
    lines += _face_rows(mesh, mesh.atlas.faces + 1)
    return "\n".join(lines) + "\n"


def ply_bytes(mesh: BakedMesh, *, name: str) -> bytes:
    """Return a binary PLY with vertex normals, 8 bit vertex colours and the name as obj_info."""
    geometry = Trimesh(
        vertices=mesh.surface.vertices,
        faces=mesh.surface.faces,
        vertex_normals=mesh.normals,
        vertex_colors=mesh.vertex_colors,
        process=False,
    )
    header, end, body = export_ply(geometry, vertex_normal=True).partition(b"end_header\n")
    lines = [line for line in header.splitlines() if not line.startswith(b"comment")]
    lines.insert(2, b"obj_info " + name.encode())  # after the magic word and the encoding
    return b"\n".join([*lines, end]) + body


def stl_bytes(mesh: BakedMesh, *, name: str) -> bytes:
    """Return a binary STL, whose header is the name: triangles without colour."""
    corners = mesh.surface.vertices[mesh.surface.faces].astype("<f4")
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(across, axis=1, keepdims=True)
    triangle = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    rows = np.zeros(len(corners), triangle)
    rows["normal"] = across / np.where(lengths > 0, lengths, 1)
    rows["corners"] = corners
    return name.encode().ljust(80) + struct.pack("<I", len(rows)) + rows.tobytes()


def usd_object(mesh: BakedMesh, *, name: str) -> UsdObject:
    """Return the mesh as USD takes it: y-up, split along the texture's seams."""
    corners = mesh.atlas.vertex_indices
    return UsdObject(
        name=name,
        vertices=mesh.surface.vertices[corners][:, WORLD_AXES_OF_Y_UP],
        faces=mesh.atlas.faces,
        normals=mesh.normals[corners][:, WORLD_AXES_OF_Y_UP],
        uvs=mesh.atlas.uvs,
        image=(albedo_file(name), png_bytes(mesh.texture)),
        roughness=mesh.material.roughness,
        metallic=mesh.material.metallic,
        material_image=None
        if mesh.material.image is None
        else (f"{name}_material.png", png_bytes(mesh.material.image)),
    )


def facts_json(mesh: BakedMesh) -> str:
    """Return the mesh's facts, keys sorted."""
    return json.dumps(mesh.facts, indent=2, sort_keys=True, allow_nan=False) + "\n"


def _rows(tag: str, values: Float[np.ndarray, "rows columns"]) -> list[str]:
    """Format one line per row, with the digits that float32 carries."""
    return [f"{tag} " + " ".join(f"{value:.7g}" for value in row) for row in values.tolist()]


def _face_rows(mesh: BakedMesh, corner: Int[np.ndarray, "faces 3"]) -> list[str]:
    vertex = mesh.surface.faces + 1
    triples = zip(vertex.tolist(), corner.tolist(), strict=True)
    return [
        "f " + " ".join(f"{v}/{vt}/{v}" for v, vt in zip(vs, vts, strict=True))
        for vs, vts in triples
    ]
