"""A prompt becomes a mesh without a workspace, with the bytes that the stages give."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh

from dreamfusion_kit.api.asset import Asset, make_asset
from dreamfusion_kit.api.recipe import load_recipe
from dreamfusion_kit.errors import CheckpointError, DreamFusionKitError, FileError, RecipeError
from dreamfusion_kit.optimize import checkpoint
from dreamfusion_kit.optimize.checkpoint import open_scratch
from dreamfusion_kit.recipe.schema import Recipe
from dreamfusion_kit.stages.layout import AssetLayout

PROMPT, SEED = "a red ball", 3
FILES = [
    "ball_albedo.png",
    "mesh.glb",
    "mesh.json",
    "mesh.mtl",
    "mesh.obj",
    "mesh.ply",
    "mesh.stl",
]


@pytest.fixture(scope="module")
def asset(recipe: Recipe) -> Asset:
    return make_asset(PROMPT, recipe, seed=SEED, progress=False)


def extras(glb: Path) -> dict[str, Any]:
    content = glb.read_bytes()
    (length,) = struct.unpack_from("<I", content, 12)
    return json.loads(content[20 : 20 + length])["asset"]["extras"]


@pytest.mark.parametrize("name", ["analytic", "toybox-smoke"])
def test_api_and_stages_give_the_same_bytes(
    name: str, staged: Callable[[str], AssetLayout], tmp_path: Path
) -> None:
    own = staged(name)
    made = make_asset(PROMPT, name, seed=SEED, progress=False)
    glb = made.save(tmp_path, name="ball")
    made.model.save(tmp_path)
    field = "field.safetensors"
    assert (tmp_path / field).read_bytes() == (own.field / field).read_bytes()
    for file in set(FILES) - {"mesh.glb"}:
        assert (tmp_path / file).read_bytes() == (own.mesh / file).read_bytes()
    staged_extras = extras(own.mesh / "mesh.glb")
    assert extras(glb) == {
        key: value for key, value in staged_extras.items() if key not in ("asset", "recipe")
    }


def test_nothing_is_written_unless_asked(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, temporary = tmp_path / "here", tmp_path / "temporary"
    here.mkdir()
    temporary.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    make_asset(PROMPT, recipe, progress=False).render(image_size_px=16)
    assert sorted(tmp_path.rglob("*")) == [here, temporary]


def test_saved_files_are_meshes(asset: Asset, tmp_path: Path) -> None:
    other = tmp_path / "mine" / "notes.txt"
    other.parent.mkdir()
    other.write_text("kept")
    glb = asset.save(str(tmp_path / "mine"), name="ball")
    assert sorted(path.name for path in glb.parent.iterdir()) == [*FILES, "notes.txt"]
    num_faces = len(asset.mesh.surface.faces)
    for name in ("mesh.glb", "mesh.obj", "mesh.ply", "mesh.stl"):
        loaded = trimesh.load(glb.with_name(name), force="mesh")
        assert isinstance(loaded, trimesh.Trimesh)
        assert len(loaded.faces) == num_faces > 100
    assert extras(glb)["identity"] == asset.identity


def test_names_come_from_the_prompt_and_formats_can_be_chosen(asset: Asset, tmp_path: Path) -> None:
    glb = asset.save(tmp_path, formats=("glb", "obj"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "mesh.glb", "mesh.json", "mesh.mtl", "mesh.obj", "red_ball_albedo.png",
    ]  # fmt: skip
    assert list(trimesh.load_scene(glb).geometry) == ["red_ball"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [({"name": "../x"}, "a-z"), ({"formats": ["ply"]}, "glb"), ({"formats": ["fbx"]}, "fbx")],
)
def test_invalid_names_and_formats_are_refused(
    asset: Asset, tmp_path: Path, asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        asset.save(tmp_path / "new", **asked)
    assert not (tmp_path / "new").exists()


def test_where_nothing_can_be_saved_is_said(asset: Asset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="file"):
        asset.save(tmp_path / "file")


def test_a_picture_shows_the_object_from_the_side_asked_for(asset: Asset) -> None:
    front = np.asarray(asset.render(azimuth_deg=0, image_size_px=32))
    above = np.asarray(asset.render(elevation_deg=90, image_size_px=32))
    assert front.shape == above.shape == (32, 32, 3)
    grey = front[0, 0]
    assert (front[16, 16] != grey).any()
    assert (front != above).any()


def test_a_notebook_shows_a_picture(asset: Asset) -> None:
    assert asset._repr_png_().startswith(b"\x89PNG")
    assert repr(asset) == "Asset(prompt='a red ball', seed=3)"


def test_the_history_has_every_step(asset: Asset, recipe: Recipe) -> None:
    assert len(asset.history) == recipe.optimize.num_steps


def test_a_run_resumes_in_its_directory(
    recipe: Recipe, asset: Asset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted after its first checkpoint, it ends in the bytes of an unbroken run."""
    save = checkpoint.save_checkpoint

    def save_and_interrupt(*arguments: Any) -> None:
        save(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("dreamfusion_kit.optimize.loop.save_checkpoint", save_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            make_asset(PROMPT, recipe, seed=SEED, progress=False, directory=tmp_path)
    resumed = make_asset(PROMPT, recipe, seed=SEED, progress=False, directory=tmp_path)
    assert resumed.history == asset.history
    for name, tensor in asset.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], tensor)


def test_a_finished_run_is_had_again_and_others_have_their_own_folder(
    recipe: Recipe, asset: Asset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_asset(PROMPT, recipe, seed=SEED, progress=False, directory=tmp_path)
    again = make_asset(PROMPT, recipe, seed=SEED, directory=tmp_path)
    assert capsys.readouterr().err == "a red ball: resuming at step 5 of 5\n"
    assert again.history == asset.history
    make_asset(PROMPT, recipe, seed=SEED + 1, progress=False, directory=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_two_runs_do_not_share_a_folder(recipe: Recipe, tmp_path: Path) -> None:
    make_asset(PROMPT, recipe, seed=SEED, progress=False, directory=tmp_path)
    (own,) = tmp_path.iterdir()
    with open_scratch(tmp_path, own.name), pytest.raises(CheckpointError, match="same inputs"):
        make_asset(PROMPT, recipe, seed=SEED, progress=False, directory=tmp_path)


def test_a_directory_that_is_a_file_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError):
        make_asset(PROMPT, recipe, progress=False, directory=tmp_path / "file")


def test_progress_is_plain_lines_without_a_terminal_and_nothing_where_not_asked_for(
    recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    make_asset("a very long prompt " * 5 + "end", recipe)
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("a very long prompt a very long prompt...: step 1/5 ")
    make_asset(PROMPT, recipe, progress=False)
    make_asset(PROMPT, "toybox-smoke", progress=False)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("prompt", "seed", "message"),
    [
        ("", 0, 'make_asset:1: prompt: found "", expected at least 1'),
        (" mug", 0, "make_asset:1: prompt: found white space"),
        ("a\nmug", 0, "make_asset:1: prompt: .*one line"),
        ("x" * 501, 0, "make_asset:1: prompt: .*at most 500"),
        ("a mug", -1, "make_asset:1: seed: found -1, expected"),
    ],
)
def test_prompt_and_seed_are_checked_as_in_a_suite(
    recipe: Recipe, prompt: str, seed: int, message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        make_asset(prompt, recipe, seed=seed, progress=False)


def test_another_device_is_refused_before_anything_else() -> None:
    with pytest.raises(DreamFusionKitError, match=r"^device tpu: expected cpu"):
        make_asset("a mug", device="tpu")


def test_a_recipe_that_cannot_fit_is_refused() -> None:
    large = load_recipe(
        "analytic",
        {"field.resolution": 512, "camera.image_size_px": 1024, "optimize.batch_size": 256},
    )
    with pytest.raises(RecipeError, match="needs"):
        make_asset("a mug", large, progress=False)


def test_a_refined_asset_has_the_bytes_of_the_stages(
    staged_refined: tuple[AssetLayout, Recipe], tmp_path: Path
) -> None:
    own, recipe = staged_refined
    made = make_asset(PROMPT, recipe, seed=SEED, progress=False, directory=tmp_path / "work")
    glb = made.save(tmp_path / "mesh", name="ball")
    for file in set(FILES) - {"mesh.glb"}:
        assert (glb.parent / file).read_bytes() == (own.refined / file).read_bytes(), file
    assert (own.refined / "mesh.obj").read_bytes() != (own.mesh / "mesh.obj").read_bytes()
    assert len(made.history) == 5 + 3
    again = make_asset(PROMPT, recipe, seed=SEED, progress=False, directory=tmp_path / "work")
    assert again.mesh.texture.tobytes() == made.mesh.texture.tobytes()


def test_what_the_refinement_cannot_read_is_refused_before_the_field_is_made(
    staged_refined: tuple[AssetLayout, Recipe], tmp_path: Path
) -> None:
    _, recipe = staged_refined
    assert recipe.refine is not None
    section = recipe.refine.model_copy(update={"prior": load_recipe("toybox").prior})
    other = recipe.model_copy(update={"refine": section})
    with pytest.raises(RecipeError, match="tokens"):
        make_asset(" ".join(["a red ball"] * 20), other, progress=False, directory=tmp_path)
    assert list(tmp_path.rglob("*.safetensors")) == []
