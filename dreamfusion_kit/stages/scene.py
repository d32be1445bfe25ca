"""Stage scene: finished meshes on a table become a GLB, a USDZ and pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from dreamfusion_kit import files
from dreamfusion_kit.environment import environment
from dreamfusion_kit.image_files import png_bytes, quantized, webp_bytes
from dreamfusion_kit.mesh.usd import check_usd
from dreamfusion_kit.recipe.canonical import identity
from dreamfusion_kit.recipe.resolved import resolve
from dreamfusion_kit.recipe.scene import GROUND, FlyAroundSection, Scene, load_scene
from dreamfusion_kit.scene.export import scene_glb, scene_usdz
from dreamfusion_kit.scene.photograph import Light, Shot, Studio, check_mitsuba, read_environment
from dreamfusion_kit.scene.placement import (
    Instance,
    Model,
    place_objects,
    read_model,
    table_top,
)
from dreamfusion_kit.stages import origin
from dreamfusion_kit.stages.inputs import mesh_hash
from dreamfusion_kit.stages.layout import SuiteLayout

_ENVIRONMENT_PX = 256  # high enough for the sun's edge


def run(workspace: Path, suite: str, name: str) -> Path:
    """Write the scene `name` of a suite: scene.glb, scene.usdz, stills and the fly-around."""
    scene = load_scene(workspace, suite, name)
    check_mitsuba()
    check_usd()
    layout = SuiteLayout(workspace, suite)
    target = layout.scene(name)
    files.check_writable(target, folder=True)
    light = _light(workspace, scene)
    models, hashes = _models(layout, scene)
    instances = place_objects(scene.objects, models)
    if scene.ground is not None:
        models[GROUND] = table_top(scene.ground, GROUND)
        instances.append(Instance(GROUND, GROUND, np.eye(4)))
    provenance: dict[str, Any] = {
        "generator": "dreamfusion-kit",
        "scene": name,
        "identity": identity(scene),
        "meshes": hashes,
    }
    with files.new_directory(target) as directory:
        lamps = scene.light.lamps
        glb = scene_glb(name, models, instances, lamps, provenance=provenance)
        (directory / "scene.glb").write_bytes(glb)
        (directory / "scene.usdz").write_bytes(scene_usdz(name, models, instances))
        files.write_json(directory / "scene.json", provenance)
        _take_pictures(directory, scene, Studio(models, instances, light))
    return target


def _models(layout: SuiteLayout, scene: Scene) -> tuple[dict[str, Model], dict[str, str]]:
    """Return the assets' meshes and the hashes of their origins, once each is checked."""
    models: dict[str, Model] = {}
    hashes: dict[str, str] = {}
    for asset in scene.assets:
        own = layout.asset(asset)
        resolved = resolve(layout.workspace, layout.suite, asset)
        origin.check_final_mesh(own, resolved)
        models[asset] = read_model(own.final_mesh(resolved) / "mesh.glb", asset)
        hashes[asset] = mesh_hash(own, resolved)
    return models, hashes


def _light(workspace: Path, scene: Scene) -> Light:
    section = scene.light
    if section.file is not None:
        radiance = read_environment(workspace / section.file)
    else:
        assert section.environment is not None
        radiance = environment(section.environment, height_px=_ENVIRONMENT_PX)
    return Light(radiance, section.strength, section.rotation_deg, section.lamps)


def _take_pictures(directory: Path, scene: Scene, studio: Studio) -> None:
    camera = scene.camera
    for index, still in enumerate(camera.stills):
        shot = Shot(
            target=camera.target,
            distance=camera.distance,
            azimuth_deg=still.azimuth_deg,
            elevation_deg=still.elevation_deg,
            fov_y_deg=camera.fov_y_deg,
            image_size_px=camera.image_size_px,
            samples_per_pixel=camera.samples_per_pixel,
        )
        picture = studio.picture(shot, background=scene.background, seed=scene.seed)
        content = png_bytes(quantized(torch.from_numpy(picture)))
        (directory / f"still_{index:02d}.png").write_bytes(content)
    if camera.fly_around is not None:
        path = camera.fly_around
        frames = [
            studio.picture(shot, background=scene.background, seed=scene.seed)
            for shot in _fly_around(scene, path)
        ]
        content = webp_bytes(
            torch.from_numpy(np.stack(frames)), frame_duration_ms=path.frame_duration_ms
        )
        (directory / "fly_around.webp").write_bytes(content)


def _fly_around(scene: Scene, path: FlyAroundSection) -> list[Shot]:
    camera, (low, high) = scene.camera, path.elevation_deg
    shots: list[Shot] = []
    for index in range(path.num_frames):
        azimuth_deg = 360 * index / path.num_frames
        share = (1 - np.cos(np.radians(azimuth_deg))) / 2
        shots.append(
            Shot(
                target=camera.target,
                distance=camera.distance,
                azimuth_deg=azimuth_deg,
                elevation_deg=float(low + share * (high - low)),
                fov_y_deg=camera.fov_y_deg,
                image_size_px=path.image_size_px,
                samples_per_pixel=path.samples_per_pixel,
            )
        )
    return shots
