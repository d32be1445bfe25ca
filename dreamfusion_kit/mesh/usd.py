"""Textured meshes as USDZ, by Pixar's library (`pip install usd-core`).

A USDZ is a ZIP without compression: a binary USD layer and its images. Every prim is y-up and one
unit is a metre. Materials are UsdPreviewSurface, which every viewer reads.
"""

import importlib
import io
import re
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from dreamfusion_kit.errors import MissingExtraError

_ALIGNMENT_BYTES = 64  # of each file's content in a USDZ, so that readers can map it
_EPOCH = (1980, 1, 1, 0, 0, 0)
_PADDING_TAG = 0x1986  # of a ZIP's extra field; any tag that nobody reads will do
_LOCAL_HEADER_BYTES = 30


@dataclass(frozen=True)
class UsdObject:
    """A mesh, y-up, and where it stands: each 4x4 matrix, for column vectors, is an instance.

    `image` is its albedo as (file name, PNG bytes), or `color` its linear RGB without one.
    `material_image` has roughness and metallic as its green and blue, in place of the numbers.
    """

    name: str
    vertices: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "faces 3"]
    normals: Float[np.ndarray, "vertices 3"]
    uvs: Float[np.ndarray, "vertices 2"] | None = None
    image: tuple[str, bytes] | None = None
    color: tuple[float, float, float] = (0.8, 0.8, 0.8)
    roughness: float = 1.0
    metallic: float = 0.0
    material_image: tuple[str, bytes] | None = None
    instances: Sequence[tuple[str, Float[np.ndarray, "4 4"]]] = field(default=())


def check_usd() -> None:
    """Refuse to continue where usd-core is not installed.

    Raises:
        MissingExtraError: with the command that installs it.
    """
    try:
        importlib.import_module("pxr.Usd")
    except ImportError as error:
        raise MissingExtraError(
            f"usdz: cannot be written, usd-core is not installed ({error}); expected the extra "
            "usd: pip install 'dreamfusion-kit[usd]'"
        ) from error


def usdz_bytes(name: str, objects: Sequence[UsdObject]) -> bytes:
    """Return a USDZ with `objects` below its default prim `name`.

    An object without instances stands in the origin, as the default prim itself if it is the
    only one. Equal input gives equal bytes.

    Raises:
        MissingExtraError: if usd-core is not installed.
    """
    check_usd()
    usd, geom = _module("Usd"), _module("UsdGeom")
    name = _identifier(name)
    with tempfile.TemporaryDirectory(prefix="dreamfusion-kit-") as folder:
        layer = Path(folder) / f"{name}.usdc"
        stage = usd.Stage.CreateNew(str(layer))
        geom.SetStageUpAxis(stage, geom.Tokens.y)
        geom.SetStageMetersPerUnit(stage, 1.0)
        root = geom.Xform.Define(stage, f"/{name}")
        stage.SetDefaultPrim(root.GetPrim())
        for each in objects:
            _add(stage, name, each)
        stage.GetRootLayer().Save()
        files = [(layer.name, layer.read_bytes())]
    images = [image for each in objects for image in (each.image, each.material_image)]
    files += [image for image in images if image is not None]
    return _package(files)


def _identifier(name: str) -> str:
    """Return a name as USD allows it for a prim: word characters, no digit first."""
    word = re.sub(r"\W", "_", name, flags=re.ASCII)
    return f"_{word}" if word[:1].isdigit() else word


def _module(name: str) -> Any:
    return importlib.import_module(f"pxr.{name}")


def _add(stage: Any, root: str, each: UsdObject) -> None:
    """Define an object's mesh and material once, and a reference to it per instance."""
    geom, gf = _module("UsdGeom"), _module("Gf")
    own = _identifier(each.name)
    if not each.instances:
        _define(stage, f"/{root}" if own == root else f"/{root}/{own}", each)
        return
    first = f"/{root}/{_identifier(each.instances[0][0])}/{own}"
    for name, matrix in each.instances:
        path = f"/{root}/{_identifier(name)}"
        xform = geom.Xform.Define(stage, path)
        # USD multiplies row vectors from the left.
        xform.AddTransformOp().Set(gf.Matrix4d(*matrix.T.ravel().tolist()))
        if f"{path}/{own}" == first:
            _define(stage, first, each)
        else:
            stage.DefinePrim(f"{path}/{own}").GetReferences().AddInternalReference(first)


def _define(stage: Any, path: str, each: UsdObject) -> None:
    geom, vt, shade = _module("UsdGeom"), _module("Vt"), _module("UsdShade")
    geom.Xform.Define(stage, path)
    mesh = geom.Mesh.Define(stage, f"{path}/{_identifier(each.name)}_mesh")
    points = np.ascontiguousarray(each.vertices, dtype=np.float32)
    mesh.CreatePointsAttr(vt.Vec3fArray.FromNumpy(points))
    mesh.CreateExtentAttr(vt.Vec3fArray.FromNumpy(np.stack([points.min(0), points.max(0)])))
    mesh.CreateFaceVertexCountsAttr(vt.IntArray.FromNumpy(np.full(len(each.faces), 3, np.int32)))
    indices = np.ascontiguousarray(each.faces.ravel(), dtype=np.int32)
    mesh.CreateFaceVertexIndicesAttr(vt.IntArray.FromNumpy(indices))
    normals = np.ascontiguousarray(each.normals, dtype=np.float32)
    mesh.CreateNormalsAttr(vt.Vec3fArray.FromNumpy(normals))
    mesh.SetNormalsInterpolation(geom.Tokens.vertex)
    mesh.CreateSubdivisionSchemeAttr(geom.Tokens.none)
    if each.uvs is not None:
        uvs = np.ascontiguousarray(each.uvs, dtype=np.float32)
        primvar = geom.PrimvarsAPI(mesh).CreatePrimvar(
            "st", _module("Sdf").ValueTypeNames.TexCoord2fArray, geom.Tokens.vertex
        )
        primvar.Set(vt.Vec2fArray.FromNumpy(uvs))
    material = _define_material(stage, f"{path}/{_identifier(each.name)}_material", each)
    shade.MaterialBindingAPI.Apply(mesh.GetPrim()).Bind(material)


def _define_material(stage: Any, path: str, each: UsdObject) -> Any:
    shade, types, gf = _module("UsdShade"), _module("Sdf").ValueTypeNames, _module("Gf")
    material = shade.Material.Define(stage, path)
    surface = shade.Shader.Define(stage, f"{path}/surface")
    surface.CreateIdAttr("UsdPreviewSurface")
    inputs = {name: surface.CreateInput(name, types.Float) for name in ("roughness", "metallic")}
    if each.material_image is None:
        inputs["roughness"].Set(each.roughness)
        inputs["metallic"].Set(each.metallic)
    else:
        texture = _texture(stage, path, "material", each.material_image[0], "raw")
        for name, channel in (("roughness", "g"), ("metallic", "b")):
            inputs[name].ConnectToSource(texture.CreateOutput(channel, types.Float))
    color = surface.CreateInput("diffuseColor", types.Color3f)
    if each.image is None:
        color.Set(gf.Vec3f(*each.color))
    else:
        texture = _texture(stage, path, "albedo", each.image[0], "sRGB")
        color.ConnectToSource(texture.CreateOutput("rgb", types.Float3))
    material.CreateSurfaceOutput().ConnectToSource(surface.CreateOutput("surface", types.Token))
    return material


def _texture(stage: Any, path: str, name: str, file: str, space: str) -> Any:
    """Define a texture over the mesh's UVs, whose reader all textures of a material share."""
    shade, types = _module("UsdShade"), _module("Sdf").ValueTypeNames
    reader = shade.Shader.Define(stage, f"{path}/uv")
    reader.CreateIdAttr("UsdPrimvarReader_float2")
    reader.CreateInput("varname", types.String).Set("st")
    texture = shade.Shader.Define(stage, f"{path}/{name}")
    texture.CreateIdAttr("UsdUVTexture")
    texture.CreateInput("file", types.Asset).Set(file)
    texture.CreateInput("sourceColorSpace", types.Token).Set(space)
    texture.CreateInput("wrapS", types.Token).Set("clamp")
    texture.CreateInput("wrapT", types.Token).Set("clamp")
    texture.CreateInput("st", types.Float2).ConnectToSource(
        reader.CreateOutput("result", types.Float2)
    )
    return texture


def _package(files: Sequence[tuple[str, bytes]]) -> bytes:
    """Return a USDZ of the files, the layer first: stored, aligned, without a clock."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files:
            info = zipfile.ZipInfo(name, _EPOCH)
            start = buffer.tell() + _LOCAL_HEADER_BYTES + len(name.encode()) + 4
            padding = -start % _ALIGNMENT_BYTES
            info.extra = (
                _PADDING_TAG.to_bytes(2, "little") + padding.to_bytes(2, "little") + bytes(padding)
            )
            archive.writestr(info, content)
    return buffer.getvalue()
