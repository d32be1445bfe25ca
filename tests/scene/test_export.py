"""Scenes in files, opened by libraries that did not write them."""

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pygltflib
import pytest
import trimesh
from PIL import Image
from pxr import Gf, Usd, UsdGeom, UsdShade

from dreamfusion_kit.recipe.scene import GroundSection, LampSection, ObjectSection
from dreamfusion_kit.scene.export import scene_glb, scene_usdz
from dreamfusion_kit.scene.placement import Instance, Model, place_objects, table_top

LAMP = LampSection(position=(1.0, 2.0, 3.0), radius=0.1, color=(1.0, 0.5, 0.25), strength=10.0)
Scene = tuple[dict[str, Model], list[Instance]]


@pytest.fixture
def scene(sign: Model) -> Scene:
    objects = {
        name: ObjectSection.model_validate(
            {"asset": "sign", "position": position, "rotation_deg": (0, 0, turn), "scale": 0.5}
        )
        for name, position, turn in (("near", (1, 0, 0), 0), ("far", (-1, 0, 0), 90))
    }
    models = {"sign": sign}
    instances = place_objects(objects, models)
    ground = GroundSection(radius=2.0, thickness=0.1, color=(0.5, 0.5, 0.5))
    models["ground"] = table_top(ground, "ground")
    return models, [*instances, Instance("ground", "ground", np.eye(4))]


def glb(scene: Scene, *lamps: LampSection) -> bytes:
    return scene_glb("toy-table", *scene, lamps, provenance={"scene": "toy-table"})


def test_meshes_are_shared_and_everything_has_its_name(scene: Scene) -> None:
    gltf = pygltflib.GLTF2().load_from_bytes(glb(scene))
    assert sorted(mesh.name for mesh in gltf.meshes) == ["ground", "sign"]
    assert sorted(material.name for material in gltf.materials) == ["ground", "sign"]
    assert [image.name for image in gltf.images] == ["sign_albedo"]
    nodes = {node.name: node for node in gltf.nodes}
    assert set(nodes) == {"toy-table", "near", "far", "ground"}
    assert nodes["near"].mesh == nodes["far"].mesh
    assert gltf.nodes[gltf.scenes[0].nodes[0]].name == "toy-table"
    assert gltf.asset.extras == {"scene": "toy-table"}


def test_objects_stand_where_they_were_placed_y_up(scene: Scene) -> None:
    loaded = trimesh.load_scene(io.BytesIO(glb(scene)), file_type="glb")
    for name, world in (("near", [1, 0.5, 1]), ("far", [-1.5, 0, 1])):
        transform, mesh = loaded.graph[name]
        vertices = trimesh.transform_points(loaded.geometry[mesh].vertices, transform)
        upper_left_of_viewer = vertices[np.argmax(vertices @ _y_up(world))]
        assert np.abs(vertices - _y_up(world)).sum(axis=1).min() < 1e-6, upper_left_of_viewer


def _y_up(world: list[float]) -> np.ndarray:
    return np.array([world[1], world[2], world[0]])


@pytest.mark.parametrize("lamps", [(), (LAMP, LAMP)])
def test_the_khronos_validator_finds_nothing(
    scene: Scene,
    lamps: tuple[LampSection, ...],
    validate_gltf: Callable[[Path], dict[str, Any]],
    tmp_path: Path,
) -> None:
    path = tmp_path / "scene.glb"
    path.write_bytes(glb(scene, *lamps))
    assert validate_gltf(path)["messages"] == []


def test_a_scene_without_textures_is_valid_too(
    scene: Scene, validate_gltf: Callable[[Path], dict[str, Any]], tmp_path: Path
) -> None:
    models, instances = scene
    path = tmp_path / "scene.glb"
    path.write_bytes(glb(({"ground": models["ground"]}, instances[-1:])))
    assert validate_gltf(path)["messages"] == []


def test_materials_stay_what_they_are(
    scene: Scene, validate_gltf: Callable[[Path], dict[str, Any]], tmp_path: Path
) -> None:
    """An image of roughness and metallic, and numbers; as GLB and as USDZ."""
    models, instances = scene
    image = np.zeros((8, 8, 3), np.uint8)
    image[..., 0], image[..., 1], image[:4, :, 2] = 255, 77, 255
    shiny = replace(models["sign"], material=image, roughness=1.0, metallic=1.0)
    changed = ({**models, "sign": shiny}, instances)
    path = tmp_path / "scene.glb"
    path.write_bytes(glb(changed))
    assert validate_gltf(path)["messages"] == []
    gltf = pygltflib.GLTF2().load(str(path))
    assert [each.name for each in gltf.images] == ["sign_albedo", "sign_material"]
    loaded = trimesh.load_scene(path)
    found: Any = loaded.geometry["sign"].visual
    np.testing.assert_array_equal(found.material.metallicRoughnessTexture, image)
    ground: Any = loaded.geometry["ground"].visual
    assert (ground.material.roughnessFactor, ground.material.metallicFactor) == (0.5, 0.0)
    path = tmp_path / "scene.usdz"
    path.write_bytes(scene_usdz("toy-table", *changed))
    stage = Usd.Stage.Open(str(path))
    surface = UsdShade.Shader(stage.GetPrimAtPath("/toy_table/far/sign/sign_material/surface"))
    for name, channel in (("roughness", "g"), ("metallic", "b")):
        (source,) = surface.GetInput(name).GetAttr().GetConnections()
        assert source.name == f"outputs:{channel}"
    with zipfile.ZipFile(path) as archive:
        stored = Image.open(io.BytesIO(archive.read("sign_material.png")))
    np.testing.assert_array_equal(np.asarray(stored), image)


def test_lamps_are_point_lights(scene: Scene) -> None:
    gltf = pygltflib.GLTF2().load_from_bytes(glb(scene, LAMP))
    (light,) = gltf.extensions["KHR_lights_punctual"]["lights"]
    assert light["color"] == [1, 0.5, 0.25]
    assert light["intensity"] == pytest.approx(10 * np.pi * 0.01)
    (node,) = [node for node in gltf.nodes if node.name == "lamp_0"]
    assert node.translation == [2, 3, 1]


def test_equal_scenes_give_equal_bytes(scene: Scene) -> None:
    assert glb(scene, LAMP) == glb(scene, LAMP)
    assert scene_usdz("toy-table", *scene) == scene_usdz("toy-table", *scene)


def test_the_usdz_has_the_same_objects(scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "scene.usdz"
    path.write_bytes(scene_usdz("toy-table", *scene))
    stage = Usd.Stage.Open(str(path))
    prim = stage.GetPrimAtPath("/toy_table/far/sign/sign_mesh")
    points = UsdGeom.Mesh(prim).GetPointsAttr().Get()
    matrix = UsdGeom.XformCache().GetLocalToWorldTransform(prim)
    world = [matrix.Transform(Gf.Vec3d(point)) for point in points]
    assert min(np.abs(np.array(point) - _y_up([-1.5, 0, 1])).sum() for point in world) < 1e-6
    assert stage.GetPrimAtPath("/toy_table/ground/ground/ground_mesh")
