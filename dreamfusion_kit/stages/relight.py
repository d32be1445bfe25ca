"""Pictures of an asset's final mesh under light from all around: stills and a turntable.

The light stands still while the object turns, so that the turntable shows how it moves over the
surface.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from dreamfusion_kit import files
from dreamfusion_kit.environment import LIGHT_NAMES, environment
from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.image_files import png_bytes, quantized, webp_bytes
from dreamfusion_kit.recipe.document import did_you_mean
from dreamfusion_kit.recipe.resolved import resolve
from dreamfusion_kit.recipe.scene import GroundSection, ObjectSection
from dreamfusion_kit.scene.photograph import Light, Shot, Studio, check_mitsuba, read_environment
from dreamfusion_kit.scene.placement import Instance, Model, place_objects, read_model, table_top
from dreamfusion_kit.stages import origin
from dreamfusion_kit.stages.layout import SuiteLayout

_ENVIRONMENT_PX = 256
_BACKGROUND = (0.93, 0.93, 0.94)
_GROUND = GroundSection(radius=1.1, thickness=0.06, color=(0.75, 0.75, 0.75))
_STILLS_DEG = (30.0, 120.0, 210.0, 300.0)
_ELEVATION_DEG = 18.0
_DISTANCE, _FOV_Y_DEG = 6.0, 25.0
_DURATION_MS = 80


def run(
    workspace: Path,
    suite: str,
    asset: str,
    lights: Sequence[str],
    *,
    image_size_px: int = 384,
    samples_per_pixel: int = 64,
    num_frames: int = 24,
) -> list[Path]:
    """Write stills and a turntable per light into out/relight/ASSET/LIGHT; return these folders.

    Args:
        workspace: The workspace.
        suite: The suite.
        asset: Its mesh has to be made.
        lights: Names of the kit's environments, or paths of .hdr or .exr files.
        image_size_px: Side of a still; the turntable has half.
        samples_per_pixel: Of a still; a frame of the turntable has half.
        num_frames: Of the turntable; 0 for none.

    Raises:
        DreamFusionKitError: if a light is unknown or unreadable, or the mesh is not there.
        MissingExtraError: if Mitsuba is not installed.
    """
    check_mitsuba()
    found = {_folder_name(light): _radiance(light) for light in lights}
    if len(found) < len(lights):
        raise DreamFusionKitError(
            f"--light: found {', '.join(map(ascii, lights))}, expected lights of different names"
        )
    own = SuiteLayout(workspace, suite).asset(asset)
    resolved = resolve(workspace, suite, asset)
    origin.check_final_mesh(own, resolved)
    model = read_model(own.final_mesh(resolved) / "mesh.glb", asset)
    folders: list[Path] = []
    for name, radiance in found.items():
        target = own.relit(name)
        with files.new_directory(target) as directory:
            for index, azimuth_deg in enumerate(_STILLS_DEG):
                picture = _picture(model, radiance, azimuth_deg, image_size_px, samples_per_pixel)
                content = png_bytes(quantized(torch.from_numpy(picture)))
                (directory / f"still_{index:02d}.png").write_bytes(content)
            if num_frames:
                frames = [
                    _picture(
                        model,
                        radiance,
                        360 * index / num_frames,
                        image_size_px // 2,
                        max(1, samples_per_pixel // 2),
                    )
                    for index in range(num_frames)
                ]
                content = webp_bytes(
                    torch.from_numpy(np.stack(frames)), frame_duration_ms=_DURATION_MS
                )
                (directory / "turntable.webp").write_bytes(content)
        folders.append(target)
    return folders


def _folder_name(light: str) -> str:
    name = light if light in LIGHT_NAMES else Path(light).stem
    if not name.strip("."):  # the folder of all lights, or that of all assets
        raise DreamFusionKitError(
            f"--light {light!a}: found a name of dots alone, expected one that its folder of "
            "pictures can have; rename the file"
        )
    return name


def _radiance(light: str) -> np.ndarray:
    if light in LIGHT_NAMES:
        return environment(light, height_px=_ENVIRONMENT_PX)
    if not light.lower().endswith((".hdr", ".exr")):
        meant = did_you_mean(light, LIGHT_NAMES)
        hint = f" (did you mean {meant}?)" if meant else ""
        raise DreamFusionKitError(
            f"--light {light}: no such light{hint}; expected {', '.join(LIGHT_NAMES)} or the path "
            "of an .hdr or .exr file"
        )
    return read_environment(Path(light))


def _picture(
    model: Model, radiance: np.ndarray, turned_deg: float, size_px: int, samples_per_pixel: int
) -> np.ndarray:
    """Return the model turned by an angle on a table top, seen from +x."""
    section = ObjectSection(
        asset=model.name, position=(0, 0, 0), rotation_deg=(0, 0, -turned_deg), scale=1.0
    )
    placed = place_objects({model.name: section}, {model.name: model})
    models = {model.name: model, "": table_top(_GROUND, "ground")}
    studio = Studio(models, [*placed, Instance("table top", "", np.eye(4))], Light(radiance))
    height = float(np.ptp(model.vertices[:, 2]))
    shot = Shot(
        target=(0.0, 0.0, height / 2),
        distance=_DISTANCE,
        azimuth_deg=0.0,
        elevation_deg=_ELEVATION_DEG,
        fov_y_deg=_FOV_Y_DEG,
        image_size_px=(size_px, size_px),
        samples_per_pixel=samples_per_pixel,
    )
    return studio.picture(shot, background=_BACKGROUND, seed=0)
