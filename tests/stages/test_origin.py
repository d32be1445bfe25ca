"""An output's origin is compared with the asset that it is read for."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.recipe.resolved import ResolvedAsset, resolve
from dreamfusion_kit.stages import evaluate, mesh, optimize, origin
from dreamfusion_kit.stages.layout import AssetLayout, SuiteLayout
from dreamfusion_kit.workspace import edit as suite_edit

CPU = torch.device("cpu")
# Each is something that the mug's output could be mistaken for, and the message.
OTHERS = {
    "asset": ({"id": "cone"}, "found the asset 'mug', expected 'cone'"),
    "prompt": ({"prompt": "a red cone"}, "found the prompt 'a red mug', expected 'a red cone'"),
    "seed": ({"seed": 1}, "found the seed 0, expected 1"),
    "forged": ({"prompt": "\u202e\n" * 100}, "expected '\\u202e\\n"),
}


@pytest.fixture
def mug(workspace: Path) -> ResolvedAsset:
    resolved = resolve(workspace, "default", "red_mug")
    return dataclasses.replace(resolved, id="mug", prompt="a red mug", seed=0)


@pytest.fixture
def own(tmp_path: Path, mug: ResolvedAsset) -> AssetLayout:
    """Return the mug's files: a field and a mesh."""
    own = SuiteLayout(tmp_path, "default").asset("mug")
    for folder in (own.field, own.mesh):
        (folder / "previews").mkdir(parents=True)
        (folder / "content").write_bytes(b"mug")
        (folder / "previews" / "step.png").write_bytes(b"png")
    origin.write_field(own.field, mug)
    origin.write_mesh(own.mesh, mug)
    return own


def test_an_output_of_its_own_asset_is_taken(own: AssetLayout, mug: ResolvedAsset) -> None:
    origin.check_field(own, mug)
    origin.check_mesh(own, mug)


@pytest.mark.parametrize("other", OTHERS)
def test_another_asset_s_output_is_refused(
    own: AssetLayout, mug: ResolvedAsset, other: str
) -> None:
    change, said = OTHERS[other]
    for check, folder, stage in (
        (origin.check_field, own.field, "optimize"),
        (origin.check_mesh, own.mesh, "mesh"),
    ):
        with pytest.raises(DreamFusionKitError) as caught:
            check(own, dataclasses.replace(mug, **change))
        message = str(caught.value)
        assert message.startswith(f"{folder / 'origin.json'}: found the ")
        assert said in message
        assert message.endswith(f"; written by the {stage} stage; run `dvc repro`")
        assert message.isprintable()


def test_a_mesh_section_is_no_concern_of_the_field(own: AssetLayout, mug: ResolvedAsset) -> None:
    coarse = mug.recipe.mesh.model_copy(update={"max_faces": 7})
    other = dataclasses.replace(mug, recipe=mug.recipe.model_copy(update={"mesh": coarse}))
    origin.check_field(own, other)
    with pytest.raises(DreamFusionKitError, match="found the recipe"):
        origin.check_mesh(own, other)
    shorter = mug.recipe.optimize.model_copy(update={"num_steps": 7})
    other = dataclasses.replace(mug, recipe=mug.recipe.model_copy(update={"optimize": shorter}))
    with pytest.raises(DreamFusionKitError, match="found the recipe"):
        origin.check_field(own, other)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: (f / "content").write_bytes(b"cone"), "content: found other content"),
        (lambda f: (f / "content").unlink(), "content: found no file"),
        (lambda f: (f / "a\nb").write_bytes(b""), "a\\nb: found a file that the stage did not"),
        (lambda f: (f / "origin.json").unlink(), "origin.json: not there"),
        (lambda f: (f / "origin.json").write_text("{}"), "asset: missing (and 4 more)"),
    ],
    ids=["content", "missing", "more", "no origin", "empty origin"],
)
def test_files_put_in_place_are_refused(
    own: AssetLayout, mug: ResolvedAsset, damage: Callable[[Path], object], said: str
) -> None:
    damage(own.field)
    with pytest.raises(DreamFusionKitError) as caught:
        origin.check_field(own, mug)
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


def test_equal_folders_have_equal_origins(
    own: AssetLayout, mug: ResolvedAsset, tmp_path: Path
) -> None:
    copy = shutil.copytree(own.field, tmp_path / "copy")
    (copy / "origin.json").unlink()
    origin.write_field(copy, mug)
    assert (copy / "origin.json").read_bytes() == (own.field / "origin.json").read_bytes()


def test_prompts_are_compared_with_their_keys_and_order() -> None:
    path, mug = Path("out/text/mug.safetensors"), {"front": "a mug, front", "": "x"}

    def check(found: dict[str, str]) -> None:
        origin.check_prompts(path, found, mug, made_by="embed")

    check(dict(mug))
    with pytest.raises(DreamFusionKitError, match=r"mug.safetensors: found front: 'a cone, front'"):
        check(mug | {"front": "a cone, front"})
    with pytest.raises(DreamFusionKitError, match=r"found front: None, expected 'a mug, front'"):
        check({"": "x"})
    with pytest.raises(DreamFusionKitError, match=r"found prompts for , front, expected front, "):
        check(dict(reversed(mug.items())))
    with pytest.raises(DreamFusionKitError, match=r"found prompts for front, , side"):
        check(mug | {"side": "a mug, side"})


# ---- through the stages, with an asset's files in another's place


def test_text_features_of_another_asset_are_refused(made: Path) -> None:
    """Once a mug's field was made of the cone's prompt, with exit status 0."""
    layout = SuiteLayout(made, "default")
    before = layout.asset("mug").text.read_bytes()
    shutil.copy(layout.asset("cone").text, layout.asset("mug").text)
    with pytest.raises(DreamFusionKitError, match=r"mug.safetensors: found .*'a red cone.*mug"):
        optimize.run(made, "default", "mug", CPU)
    layout.asset("mug").text.write_bytes(before)


def test_a_field_of_another_asset_is_refused(made: Path) -> None:
    layout = SuiteLayout(made, "default")
    shutil.copytree(layout.asset("cone").field, layout.asset("mug").field, dirs_exist_ok=True)
    with pytest.raises(DreamFusionKitError, match="found the asset 'cone', expected 'mug'"):
        mesh.run(made, "default", "mug", CPU)
    with pytest.raises(DreamFusionKitError, match="found the asset 'cone', expected 'mug'"):
        evaluate.run(made, "default", "mug", CPU)
    optimize.run(made, "default", "mug", CPU)


def test_optimize_before_embed_is_one_line(made: Path) -> None:
    suite_edit.add(made, "default", "late", prompt="a late mug", recipe="analytic", seed=0)
    with pytest.raises(DreamFusionKitError, match=r"late.safetensors: not there.* embed stage"):
        optimize.run(made, "default", "late", CPU)
    with pytest.raises(DreamFusionKitError, match=r"late/origin.json: not there.* optimize stage"):
        mesh.run(made, "default", "late", CPU)


def test_what_is_in_place_of_a_folder_is_refused_before_the_work(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = SuiteLayout(made, "default")
    own = layout.asset("cone")
    moved = own.field.rename(own.field.with_name("moved"))
    own.field.symlink_to(moved)
    monkeypatch.setattr(optimize, "optimize", lambda *_, **__: pytest.fail("it was optimised"))
    with pytest.raises(DreamFusionKitError, match="cone: is a link, expected a folder"):
        optimize.run(made, "default", "cone", CPU)
    own.field.unlink()
    moved.rename(own.field)
    assert list((made / ".work").glob("*")) == []
