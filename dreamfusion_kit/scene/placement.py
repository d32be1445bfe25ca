"""Finished meshes, read from their GLBs, and the places where they stand."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float, Int, UInt8
from PIL import Image

from dreamfusion_kit.errors import MeshError
from dreamfusion_kit.recipe.scene import GroundSection, ObjectSection

_Y_UP_AXES_OF_WORLD = [2, 0, 1]
_NUM_SIDES = 128  # of the table top
_BEVEL = 0.15  # of its edge, in thicknesses

Transform = Float[np.ndarray, "4 4"]


@dataclass(frozen=True)
class Model:
    """A textured mesh, z-up. `texture` is sRGB, row 0 on top; without one, `color` is.

    `material` is linear, roughness its green and metallic its blue; without one, the numbers are.
    """

    name: str
    vertices: Float[np.ndarray, "vertices 3"]
    faces: Int[np.ndarray, "faces 3"]
    normals: Float[np.ndarray, "vertices 3"]
    uvs: Float[np.ndarray, "vertices 2"] | None
    texture: UInt8[np.ndarray, "h w 3"] | None
    color: tuple[float, float, float] = (0.8, 0.8, 0.8)
    roughness: float = 1.0
    metallic: float = 0.0
    material: UInt8[np.ndarray, "h w 3"] | None = None


@dataclass(frozen=True)
class Instance:
    """A model by its name, and the matrix that takes its points, as columns, into the world."""

    name: str
    model: str
    transform: Transform


def read_model(path: Path, name: str) -> Model:
    """Return the mesh of a GLB that the kit wrote.

    Raises:
        MeshError: if it cannot be read.
    """
    try:
        mesh: Any
        (mesh,) = trimesh.load_scene(path, process=False).dump()
        material: Any = mesh.visual.material
        texture = _pixels(material.baseColorTexture)
        uvs = None if texture is None else np.array(mesh.visual.uv, dtype=np.float64)
        return Model(
            name=name,
            vertices=np.array(mesh.vertices, dtype=np.float64)[:, _Y_UP_AXES_OF_WORLD],
            faces=np.array(mesh.faces, dtype=np.int64),
            normals=np.array(mesh.vertex_normals, dtype=np.float64)[:, _Y_UP_AXES_OF_WORLD],
            uvs=uvs,
            texture=texture,
            roughness=_factor(material.roughnessFactor),
            metallic=_factor(material.metallicFactor),
            material=_pixels(material.metallicRoughnessTexture),
        )
    except Exception as error:  # A damaged file can raise anything from inside the parser.
        raise MeshError(
            f"{path}: found no mesh that the kit wrote ({type(error).__name__}), expected one; "
            "run the mesh stage again"
        ) from error


def _pixels(image: Any) -> UInt8[np.ndarray, "h w 3"] | None:
    return np.array(image.convert("RGB")) if isinstance(image, Image.Image) else None


def _factor(value: float | None) -> float:
    return 1.0 if value is None else float(value)


def place_objects(
    objects: Mapping[str, ObjectSection], models: Mapping[str, Model]
) -> list[Instance]:
    """Return the objects as instances: turned, scaled, the middle of their base at its position."""
    return [
        Instance(name, each.asset, _stand(models[each.asset], each))
        for name, each in objects.items()
    ]


def _stand(model: Model, section: ObjectSection) -> Transform:
    turn = section.scale * rotation(*section.rotation_deg)
    turned = model.vertices @ turn.T
    lower, upper = turned.min(axis=0), turned.max(axis=0)
    base = np.array([*((lower + upper) / 2)[:2], lower[2]])
    transform = np.eye(4)
    transform[:3, :3] = turn
    transform[:3, 3] = np.array(section.position) - base
    return transform


def rotation(x_deg: float, y_deg: float, z_deg: float) -> Float[np.ndarray, "3 3"]:
    """Return the turn about the world's x, then y, then z."""
    matrix = np.eye(3)
    for axis, degrees in enumerate((x_deg, y_deg, z_deg)):
        sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[[first, first, second, second], [first, second, first, second]] = (
            cosine, -sine, sine, cosine,
        )  # fmt: skip
        matrix = turn @ matrix
    return matrix


def table_top(section: GroundSection, name: str) -> Model:
    """Return a round table top with a bevelled edge, its upper side at z = 0."""
    bevel = min(_BEVEL * section.thickness, section.radius / 2)
    profile = [
        (0.0, 0.0), (section.radius - bevel, 0.0),
        (section.radius, -bevel), (section.radius, -section.thickness + bevel),
        (section.radius - bevel, -section.thickness), (0.0, -section.thickness),
    ]  # fmt: skip
    solid = trimesh.creation.revolve(profile[::-1], sections=_NUM_SIDES)
    corners = np.array(solid.triangles).reshape(-1, 3)
    normals = np.array(solid.face_normals).repeat(3, axis=0)
    return Model(
        name=name,
        vertices=corners,
        faces=np.arange(len(corners)).reshape(-1, 3),
        normals=normals,
        uvs=None,
        texture=None,
        color=section.color,
        roughness=0.5,
    )
