"""A scene as one GLB and one USDZ: each mesh once, an instance per object, all by their names."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from trimesh import Scene as TrimeshScene
from trimesh import Trimesh
from trimesh.exchange.gltf import export_glb
from trimesh.visual.material import PBRMaterial
from trimesh.visual.texture import TextureVisuals

from dreamfusion_kit.image_files import png_bytes
from dreamfusion_kit.mesh.export import SAMPLER, WORLD_AXES_OF_Y_UP, albedo_file, name_buffer_views
from dreamfusion_kit.mesh.srgb import to_linear
from dreamfusion_kit.mesh.usd import UsdObject, usdz_bytes
from dreamfusion_kit.recipe.scene import LampSection
from dreamfusion_kit.scene.placement import Instance, Model, Transform

_LIGHTS = "KHR_lights_punctual"
_TO_Y_UP = np.eye(4)[[1, 2, 0, 3]]


def scene_glb(
    name: str,
    models: Mapping[str, Model],
    instances: Sequence[Instance],
    lamps: Sequence[LampSection],
    *,
    provenance: Mapping[str, Any],
) -> bytes:
    """Return a glTF 2.0 binary, y-up: a node per instance and lamp below the node `name`.

    Lamps are point lights (KHR_lights_punctual) whose intensity is that of the ball, radiance
    times its disc, in the units of the scene's environment; glTF holds no environment.
    """
    scene = TrimeshScene()
    for key in dict.fromkeys(instance.model for instance in instances):
        scene.geometry[key] = _geometry(models[key])
    for instance in instances:  # `add_geometry` would write a mesh for each
        matrix = _y_up(instance.transform)
        scene.graph.update(frame_to=instance.name, matrix=matrix, geometry=instance.model)

    def complete(tree: dict[str, Any]) -> None:
        tree["asset"] = {"version": "2.0", "generator": "dreamfusion-kit", "extras": provenance}
        tree["samplers"] = [SAMPLER]
        for texture in tree.get("textures", []):
            texture["sampler"] = 0
        for material in tree["materials"]:
            own = material["name"]
            named = {
                "baseColorTexture": (own, "albedo"),
                "metallicRoughnessTexture": (f"{own}_material", "material"),
            }
            for key, (texture_name, kind) in named.items():
                found = material["pbrMetallicRoughness"].get(key)
                if found is not None:
                    texture = tree["textures"][found["index"]]
                    texture["name"] = texture_name
                    tree["images"][texture["source"]]["name"] = f"{own}_{kind}"
        if not tree.get("textures"):
            del tree["samplers"]
        name_buffer_views(tree)
        _add_lamps(tree, lamps)
        _add_root(tree, name)

    return export_glb(scene, include_normals=True, tree_postprocessor=complete)


def scene_usdz(name: str, models: Mapping[str, Model], instances: Sequence[Instance]) -> bytes:
    """Return the scene as USDZ, y-up, without its lamps.

    Raises:
        MissingExtraError: if usd-core is not installed.
    """
    objects = [
        UsdObject(
            name=model.name,
            vertices=model.vertices[:, WORLD_AXES_OF_Y_UP],
            faces=model.faces,
            normals=model.normals[:, WORLD_AXES_OF_Y_UP],
            uvs=model.uvs,
            image=None
            if model.texture is None
            else (albedo_file(model.name), png_bytes(model.texture)),
            color=_linear(model),
            roughness=model.roughness,
            metallic=model.metallic,
            material_image=None
            if model.material is None
            else (f"{model.name}_material.png", png_bytes(model.material)),
            instances=[
                (instance.name, _y_up(instance.transform))
                for instance in instances
                if instance.model == key
            ],
        )
        for key, model in models.items()
    ]
    return usdz_bytes(name, objects)


def _y_up(transform: Transform) -> Transform:
    return _TO_Y_UP @ transform @ _TO_Y_UP.T


def _linear(model: Model) -> tuple[float, float, float]:
    red, green, blue = to_linear(np.array(model.color, dtype=np.float64)).tolist()
    return red, green, blue


def _geometry(model: Model) -> Trimesh:
    material = PBRMaterial(
        name=model.name,
        metallicFactor=model.metallic,
        roughnessFactor=model.roughness,
        metallicRoughnessTexture=None
        if model.material is None
        else Image.fromarray(model.material),
        baseColorTexture=None if model.texture is None else Image.fromarray(model.texture),
        baseColorFactor=None if model.texture is not None else [*_linear(model), 1.0],
    )
    return Trimesh(
        vertices=model.vertices[:, WORLD_AXES_OF_Y_UP],
        faces=model.faces,
        vertex_normals=model.normals[:, WORLD_AXES_OF_Y_UP],
        visual=TextureVisuals(uv=model.uvs, material=material),
        process=False,
    )


def _add_lamps(tree: dict[str, Any], lamps: Sequence[LampSection]) -> None:
    if not lamps:
        return
    tree["extensionsUsed"] = [*tree.get("extensionsUsed", []), _LIGHTS]
    tree["extensions"] = {
        _LIGHTS: {
            "lights": [
                {
                    "type": "point",
                    "name": f"lamp_{index}",
                    "color": list(lamp.color),
                    "intensity": lamp.strength * np.pi * lamp.radius**2,
                }
                for index, lamp in enumerate(lamps)
            ]
        }
    }
    for index, lamp in enumerate(lamps):
        tree["scenes"][0]["nodes"].append(len(tree["nodes"]))
        place = [lamp.position[axis] for axis in WORLD_AXES_OF_Y_UP]
        extension = {_LIGHTS: {"light": index}}
        tree["nodes"].append(
            {"name": f"lamp_{index}", "translation": place, "extensions": extension}
        )


def _add_root(tree: dict[str, Any], name: str) -> None:
    """Put everything below one node, so that a program that imports the scene can move it."""
    tree["nodes"].append({"name": name, "children": tree["scenes"][0]["nodes"]})
    tree["scenes"][0] |= {"name": name, "nodes": [len(tree["nodes"]) - 1]}
