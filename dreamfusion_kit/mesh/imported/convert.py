"""From a model's file to the kit's own form of a textured mesh."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

import numpy as np
from jaxtyping import Float, Int, UInt8
from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict  # pydantic reads that of `typing` from 3.12 on

from dreamfusion_kit import files
from dreamfusion_kit.errors import MeshError
from dreamfusion_kit.mesh.atlas import UvAtlas
from dreamfusion_kit.mesh.box_projection import box_atlas
from dreamfusion_kit.mesh.clean import measure
from dreamfusion_kit.mesh.extract import BakedMesh, texture_facts
from dreamfusion_kit.mesh.imported.cells import cell_atlas
from dreamfusion_kit.mesh.imported.place import PlacedModel, place, split_at_creases, vertex_normals
from dreamfusion_kit.mesh.imported.raw import RawModel
from dreamfusion_kit.mesh.imported.read import read_raw
from dreamfusion_kit.mesh.isosurface import Isosurface
from dreamfusion_kit.mesh.srgb import to_linear, to_srgb
from dreamfusion_kit.mesh.texture import texel_points
from dreamfusion_kit.mesh.unwrap import unwrap
from dreamfusion_kit.recipe.imported import ImportSection, Uvs


@with_config(ConfigDict(extra="forbid", allow_inf_nan=False))
class ImportRecord(TypedDict):
    """What was done to a file: `transform` takes its points, as columns, to world coordinates.

    `size_m` is the longest side of the file's box, in metres.
    """

    file: str
    sha256: str
    transform: list[list[float]]
    size_m: float
    faces_in_file: int
    dropped_faces: int
    materials: int
    images: int
    uvs: Uvs


@dataclass(frozen=True)
class ImportedMesh:
    """An imported mesh, and how it came from its file."""

    mesh: BakedMesh
    record: ImportRecord


def convert(
    source: Path, section: ImportSection, *, texture_size_px: int, shown_as: Path | None = None
) -> ImportedMesh:
    """Return the mesh of the files in the folder `source`, once they are those of `section`.

    Normals are computed: edges sharper than `place.CREASE_DEG` stay sharp. The colours of all
    materials come into one texture. Faces without an area are left out, and counted.

    Args:
        source: The folder of the model and all that it refers to.
        section: Which files they are, and how to read them.
        texture_size_px: Of the new texture; kept UVs keep their texture's size.
        shown_as: The path that messages name, if another one.

    Raises:
        MeshError: if a file differs or cannot be read, or the UVs cannot be had as asked.
    """
    _check_files(source, section)
    where = shown_as or source / section.file
    raw = read_raw(source, section.file, shown_as=where)
    try:
        placed = place(raw, section)
        mesh = _baked(raw, placed, section.uvs, texture_size_px)
    except MeshError as error:
        raise MeshError(f"{where}: {error}") from None
    record = ImportRecord(
        file=section.file,
        sha256=section.files[section.file],
        transform=placed.transform.tolist(),
        size_m=placed.size_m,
        faces_in_file=len(raw.faces),
        dropped_faces=len(raw.faces) - len(placed.faces),
        materials=len(np.unique(raw.material)),
        images=len(raw.images),
        uvs=section.uvs,
    )
    return ImportedMesh(mesh, record)


def _check_files(source: Path, section: ImportSection) -> None:
    there = {path.relative_to(source).as_posix() for path in source.rglob("*") if not path.is_dir()}
    for name in sorted(there ^ section.files.keys()):
        state = "not there" if name not in there else "not among import.files"
        raise MeshError(f"{source / name}: {state}; expected the files of asset.yaml; `dvc pull`")
    for name, sha256 in section.files.items():
        if (source / name).is_symlink() and not (source / name).is_file():
            raise MeshError(f"{source / name}: not a file; run `dvc checkout`")
        if files.sha256(source / name) != sha256:
            raise MeshError(
                f"{source / name}: found other content than import.files in asset.yaml names, "
                "expected the imported file; import it again under another id"
            )


def _baked(raw: RawModel, placed: PlacedModel, uvs: Uvs, texture_size_px: int) -> BakedMesh:
    welded = Isosurface(placed.vertices, placed.faces)
    old, faces = split_at_creases(placed.vertices, placed.faces)
    surface = Isosurface(placed.vertices[old], faces)
    facts = measure(welded, dropped_components=0)
    atlas, texture = _atlas(raw, placed, surface, uvs, texture_size_px)
    return BakedMesh(
        surface=surface,
        normals=vertex_normals(surface.vertices, faces),
        vertex_colors=_vertex_colors(raw, placed.kept, faces, len(old)),
        atlas=atlas,
        texture=texture,
        facts={
            **dataclasses.asdict(facts),
            **texture_facts(atlas, max(texture.shape[:2])),
        },
    )


def _atlas(
    raw: RawModel, placed: PlacedModel, surface: Isosurface, uvs: Uvs, size: int
) -> tuple[UvAtlas, UInt8[np.ndarray, "h w 3"]]:
    match uvs:
        case "keep":
            return _kept_atlas(raw, placed, surface)
        case "unwrap":
            atlas = unwrap(surface, texture_size_px=size)
        case "box":
            atlas = box_atlas(surface, texture_size_px=size)
        case "cells":
            atlas = cell_atlas(surface, texture_size_px=size)
        case _:
            assert_never(uvs)
    face, barycentric = texel_points(atlas, size)
    colors = _albedo(raw, placed.kept[face], barycentric)
    return atlas, _bytes(colors).reshape(size, size, 3)


def _kept_atlas(
    raw: RawModel, placed: PlacedModel, surface: Isosurface
) -> tuple[UvAtlas, UInt8[np.ndarray, "h w 3"]]:
    """Return the file's own UVs and texture, if one texture of one material covers all faces."""
    used = np.unique(raw.material[placed.kept])
    images, factors = raw.image_of[used], raw.factors[used]
    if len(set(images.tolist())) != 1 or images[0] < 0 or np.ptp(factors, axis=0).any():
        raise MeshError(
            f"found {len(used)} materials with {len(set(images.tolist()) - {-1})} textures, "
            "expected one texture on all faces to keep its UVs; import it without --keep-uvs"
        )
    uvs = raw.uvs[placed.kept].astype(np.float64)
    if uvs.min() < -1e-4 or uvs.max() > 1 + 1e-4:
        raise MeshError(
            f"found UVs from {uvs.min():.3g} to {uvs.max():.3g}, expected 0 to 1 to keep them: "
            "the texture repeats; import it without --keep-uvs"
        )
    rows = np.column_stack([surface.faces.ravel(), uvs.reshape(-1, 2)])
    unique, inverse = np.unique(rows, axis=0, return_inverse=True)
    image = raw.images[int(images[0])]
    if not np.allclose(factors[0], 1):
        image = _bytes(to_srgb(to_linear(image / 255) * factors[0]))
    atlas = UvAtlas(
        uvs=unique[:, 1:].clip(0, 1),
        faces=inverse.reshape(surface.faces.shape).astype(np.int64),
        vertex_indices=unique[:, 0].astype(np.int64),
        num_charts=1,
    )
    return atlas, image


def _vertex_colors(
    raw: RawModel, kept: Int[np.ndarray, " faces"], faces: Int[np.ndarray, "faces 3"], count: int
) -> UInt8[np.ndarray, "vertices 3"]:
    """Return the albedo at each vertex, as one of its faces has it."""
    colors = np.zeros((count, 3), dtype=np.uint8)
    for corner in (2, 1, 0):
        weights = np.broadcast_to(np.eye(3)[corner], (len(faces), 3))
        colors[faces[:, corner]] = _bytes(_albedo(raw, kept, weights))
    return colors


def _albedo(
    raw: RawModel, face: Int[np.ndarray, " points"], weights: Float[np.ndarray, "points 3"]
) -> Float[np.ndarray, "points 3"]:
    """Return the sRGB albedo of points on faces of the file, given barycentric weights."""
    material = raw.material[face]
    linear = np.einsum("pk,pkc->pc", weights, raw.colors[face]) * raw.factors[material]
    uvs = np.einsum("pk,pkc->pc", weights, raw.uvs[face])
    for index, image in enumerate(raw.images):
        own = raw.image_of[material] == index
        if own.any():
            linear[own] *= _sampled(image, uvs[own])
    return to_srgb(linear.clip(0, 1))


def _sampled(
    image: UInt8[np.ndarray, "h w 3"], uvs: Float[np.ndarray, "points 2"]
) -> Float[np.ndarray, "points 3"]:
    """Return linear colours of a repeating image, bilinearly between texel centres."""
    height, width = image.shape[:2]
    column, row = uvs[:, 0] * width - 0.5, (1 - uvs[:, 1]) * height - 0.5
    left, top = np.floor(column).astype(np.int64), np.floor(row).astype(np.int64)
    across, down = (column - left)[:, None], (row - top)[:, None]

    def texel(x: Int[np.ndarray, " points"], y: Int[np.ndarray, " points"]) -> np.ndarray:
        return to_linear(image[y % height, x % width] / 255)

    upper = (1 - across) * texel(left, top) + across * texel(left + 1, top)
    lower = (1 - across) * texel(left, top + 1) + across * texel(left + 1, top + 1)
    return (1 - down) * upper + down * lower


def _bytes(colors: Float[np.ndarray, "*rows 3"]) -> UInt8[np.ndarray, "*rows 3"]:
    return np.rint(255 * colors.clip(0, 1)).astype(np.uint8)
