"""A scene of a made asset: its files, that they are the same again, and what is refused."""

import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.stages import mesh, relight, scene

SHIPPED = Path(__file__).parents[2] / "scenes" / "toy-table.yaml"


@pytest.fixture(scope="module")
def placed(made: Path) -> Path:
    """Return a workspace whose asset `mug` has a mesh, and a scene of four of it."""
    mesh.run(made, "default", "mug", torch.device("cpu"))
    text = re.sub(r"asset: \w+", "asset: mug", SHIPPED.read_text())
    text = re.sub(r"image_size_px: .*", "image_size_px: [32, 16]", text)
    text = re.sub(r"samples_per_pixel: .*", "samples_per_pixel: 1", text)
    text = re.sub(r"num_frames: .*", "num_frames: 3", text)
    path = made / "scenes" / "toy-table.yaml"
    path.parent.mkdir()
    path.write_text(text)
    return made


def test_a_scene_is_whole_and_the_same_again(placed: Path) -> None:
    folder = scene.run(placed, "default", "toy-table")
    assert folder == placed / "out" / "scene" / "toy-table"
    names = ["fly_around.webp", "scene.glb", "scene.json", "scene.usdz", "still_00.png",
             "still_01.png"]  # fmt: skip
    assert sorted(path.name for path in folder.iterdir()) == names
    with Image.open(folder / "fly_around.webp") as frames:
        assert (frames.size, frames.n_frames) == ((32, 16), 3)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    scene.run(placed, "default", "toy-table")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_mesh_of_another_asset_is_refused(placed: Path) -> None:
    path = placed / "scenes" / "toy-table.yaml"
    text = path.read_text()
    try:
        path.write_text(text.replace("asset: mug", "asset: cone"))
        with pytest.raises(DreamFusionKitError, match=r"out/mesh/cone/origin\.json: not there"):
            scene.run(placed, "default", "toy-table")
    finally:
        path.write_text(text)


def test_an_asset_is_relit(placed: Path) -> None:
    folders = relight.run(
        placed, "default", "mug", ["overcast", "sunset"],
        image_size_px=16, samples_per_pixel=1, num_frames=2,
    )  # fmt: skip
    assert [folder.name for folder in folders] == ["overcast", "sunset"]
    for folder in folders:
        stills = [f"still_{index:02d}.png" for index in range(4)]
        assert sorted(path.name for path in folder.iterdir()) == [*stills, "turntable.webp"]


@pytest.mark.parametrize(
    ("lights", "said"),
    [
        (["sunst"], r"no such light \(did you mean sunset\?\)"),
        (["absent.hdr"], "not there"),
        (["studio", "studio"], "lights of different names"),
        (["...hdr"], "a name of dots alone"),
    ],
)
def test_unknown_lights_are_refused(placed: Path, lights: list[str], said: str) -> None:
    with pytest.raises(DreamFusionKitError, match=said):
        relight.run(placed, "default", "mug", lights, num_frames=0)
