"""Declared scenes: a suite's assets on a table, under a light, before a camera.

Scenes of the default suite are scenes/NAME.yaml, those of suites/S are suites/S/scenes/NAME.yaml.
The world is z-up, in metres; azimuth 0 is +x, and grows counter-clockwise seen from above.
"""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dreamfusion_kit.recipe.document import (
    Document,
    Problem,
    did_you_mean,
    file_error,
    recipe_error,
)
from dreamfusion_kit.recipe.load import load_yaml, validate
from dreamfusion_kit.recipe.schema import Color, Section, WorkspacePath
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.recipe.suite_schema import ASSET_ID
from dreamfusion_kit.recipe.workspace import NAME, suite_root

FOLDER = "scenes"
GROUND = "ground"  # the table top's name in files
Meters = Annotated[float, Field(ge=1e-4, le=1e4)]
Coordinate = Annotated[float, Field(ge=-1e4, le=1e4)]
Point = tuple[Coordinate, Coordinate, Coordinate]
Degrees = Annotated[float, Field(ge=-360, le=360)]
# A camera straight above or below has no "up" to turn to.
Elevation = Annotated[float, Field(ge=-89, le=89)]
Pixels = Annotated[int, Field(ge=16, le=4096)]


class ObjectSection(Section):
    """One asset in the scene; the same asset may stand there several times."""

    asset: Annotated[str, Field(pattern=ASSET_ID)] = Field(description="Its id in the suite.")
    position: Point = Field(
        description="Where the middle of its base stands, x, y, z in metres; z 0 is the ground."
    )
    rotation_deg: tuple[Degrees, Degrees, Degrees] = Field(
        description="Turns about the world's x, then y, then z; [0, 0, 90] looks along +y."
    )
    scale: Meters = Field(
        description="Metres per scene unit: 0.1 makes an asset of a ball of radius 1 fit 0.2 m."
    )


class GroundSection(Section):
    """A round table top whose upper side is the plane z = 0."""

    radius: Meters = Field(description="Of the top, in metres.")
    thickness: Meters = Field(description="In metres.")
    color: Color = Field(description="Its albedo, sRGB.")


class LampSection(Section):
    """A shining ball."""

    position: Point = Field(description="Its middle, x, y, z in metres.")
    radius: Meters = Field(description="In metres.")
    color: Color = Field(description="Of its light, linear RGB.")
    strength: Annotated[float, Field(ge=0, le=1e6)] = Field(
        description="Radiance of its surface; a sunlit white wall has about 1."
    )


class SceneLightSection(Section):
    """The light of the scene."""

    environment: Literal["studio", "sunset", "overcast"] | None = Field(
        description="One of the kit's environments; null where file is given."
    )
    file: WorkspacePath | None = Field(
        description="An equirectangular .hdr or .exr of your own in the workspace; null for none."
    )
    strength: Annotated[float, Field(ge=0, le=1000)] = Field(
        description="Factor on the environment's light."
    )
    rotation_deg: Degrees = Field(description="Turn of the environment about z.")
    lamps: tuple[LampSection, ...] = Field(max_length=32, description="Further lights.")

    @model_validator(mode="after")
    def _one_environment(self) -> Self:
        if (self.environment is None) == (self.file is None):
            raise ValueError("expected either an environment or a file, the other null")
        return self


class FlyAroundSection(Section):
    """A closed camera path around the target; the pictures become an animation."""

    num_frames: int = Field(ge=2, le=1000, description="Frames of a full turn.")
    frame_duration_ms: int = Field(ge=10, le=1000, description="How long each is shown.")
    elevation_deg: tuple[Elevation, Elevation] = Field(
        description="Elevation at azimuth 0 and at azimuth 180, with a smooth way between."
    )
    image_size_px: tuple[Pixels, Pixels] = Field(description="Width and height.")
    samples_per_pixel: int = Field(ge=1, le=4096, description="Paths per pixel.")


class StillSection(Section):
    """One picture."""

    azimuth_deg: Degrees = Field(description="Where the camera stands, seen from the target.")
    elevation_deg: Elevation = Field(description="Above the target.")


class SceneCameraSection(Section):
    """Where pictures are taken from."""

    target: Point = Field(description="What the camera looks at, x, y, z in metres.")
    distance: Meters = Field(description="From the target, in metres.")
    fov_y_deg: Annotated[float, Field(ge=1, le=120)] = Field(description="Vertical field of view.")
    image_size_px: tuple[Pixels, Pixels] = Field(description="Width and height of stills.")
    samples_per_pixel: int = Field(ge=1, le=65536, description="Paths per pixel of stills.")
    stills: tuple[StillSection, ...] = Field(min_length=1, max_length=64, description="Pictures.")
    fly_around: FlyAroundSection | None = Field(description="null for none.")


class Scene(Section):
    """A scene: one GLB, one USDZ, stills and a fly-around."""

    scene: Annotated[str, Field(pattern=NAME)] = Field(description="Its name: that of the file.")
    objects: dict[Annotated[str, Field(pattern=ASSET_ID)], ObjectSection] = Field(
        min_length=1, max_length=1000, description="The objects by names of their own."
    )
    ground: GroundSection | None = Field(description="A table top; null for none.")
    background: Color | None = Field(
        description="What pictures show behind everything, sRGB; null shows the environment."
    )
    light: SceneLightSection = Field(description="Where light comes from.")
    camera: SceneCameraSection = Field(description="Where pictures are taken from.")
    seed: Annotated[int, Field(ge=0, lt=2**31)] = Field(description="Of the paths of light.")

    @property
    def assets(self) -> tuple[str, ...]:
        """Return the ids of the assets, each once."""
        return tuple(dict.fromkeys(each.asset for each in self.objects.values()))


def scene_file(workspace: Path, suite: str, name: str) -> Path:
    """Return the file of the scene `name` of a suite."""
    if not re.fullmatch(NAME, name):
        raise file_error(
            suite_root(workspace, suite) / FOLDER,
            f"found {name!r}, expected a name of a-z, 0-9, _ and -, without - at the start",
        )
    return suite_root(workspace, suite) / FOLDER / f"{name}.yaml"


def scene_names(workspace: Path, suite: str) -> list[str]:
    """Return the names of a suite's scenes, sorted."""
    found = (suite_root(workspace, suite) / FOLDER).glob("*.yaml")
    return sorted(path.stem for path in found if path.name != "dvc.yaml")


def load_scene(workspace: Path, suite: str, name: str) -> Scene:
    """Return a suite's scene, checked against the suite's assets.

    Raises:
        RecipeError: with every problem of the file.
    """
    path = scene_file(workspace, suite, name)
    if not path.is_file():
        known = scene_names(workspace, suite)
        meant = did_you_mean(name, known)
        there = f"there are {', '.join(known)}" if known else "that folder has none"
        hint = f" (did you mean {meant}?)" if meant else f"; {there}"
        raise file_error(path, f"no such scene{hint}")
    document = load_yaml(path)
    scene = validate(document, Scene)
    problems = _problems(document, scene, name, load_suite(workspace, suite).assets)
    if problems:
        raise recipe_error(problems)
    return scene


def _problems(
    document: Document, scene: Scene, name: str, assets: Collection[str]
) -> list[Problem]:
    problems: list[Problem] = []
    if scene.scene != name:
        text = f"found {scene.scene}, expected {name}, as the file's name says"
        problems.append(Problem(document.place(("scene",)), ("scene",), text))
    for own, each in scene.objects.items():
        if each.asset not in assets:
            key = ("objects", own, "asset")
            meant = did_you_mean(each.asset, list(assets))
            hint = f"did you mean {meant}?" if meant else f"it has {', '.join(list(assets)[:20])}"
            text = f"found no asset {each.asset} in the suite ({hint})"
            problems.append(Problem(document.place(key), key, text))
    if scene.ground is not None and GROUND in scene.objects:
        key = ("objects", GROUND)
        problems.append(
            Problem(document.place(key), key, "expected another name than the ground's")
        )
    return problems
