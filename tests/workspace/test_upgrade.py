"""An upgrade writes what the kit wrote, keeps what a user edited, and says what reruns."""

import json
import shutil
from pathlib import Path

import pytest

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.workspace import shipped
from dreamfusion_kit.workspace import upgrade as module
from dreamfusion_kit.workspace.init import init
from dreamfusion_kit.workspace.upgrade import upgrade


@pytest.fixture
def made(tmp_path: Path) -> Path:
    init(tmp_path / "made", "analytic")
    return tmp_path / "made"


def _newer(monkeypatch: pytest.MonkeyPatch) -> None:
    current = shipped.pipeline
    monkeypatch.setattr(
        module.shipped,
        "pipeline",
        lambda *listed: current(*listed).replace("# The default", "# As of version 2, the"),
    )


def test_a_pipeline_that_the_kit_wrote_is_replaced(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _newer(monkeypatch)
    assert list(upgrade(made)) == [f"{made}/dvc.yaml: written"]
    text = (made / "dvc.yaml").read_text()
    assert text.startswith("# As of version 2")
    assert "recipes/analytic.yaml" in text
    assert "recipes/toybox.yaml" not in text
    assert list(upgrade(made)) == []


def test_a_pipeline_that_was_edited_is_kept_and_the_difference_shown(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made / "dvc.yaml"
    edited = path.read_text() + "\n  mine:\n    cmd: echo mine\n"
    path.write_text(edited)
    assert list(upgrade(made)) == []
    _newer(monkeypatch)
    story = list(upgrade(made))
    assert path.read_text() == edited
    assert story[0] == f"{path}: edited by hand, kept; what this version has:"
    assert (
        "+# As of version 2, the suite: the assets of params.yaml, from prompts to a gallery."
        in story
    )
    assert "-  mine:" in story


def test_a_recipe_that_a_user_lists_is_no_edit(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`params:` names the recipes to show in experiments: one line per recipe, the user's."""
    path = made / "dvc.yaml"
    text = path.read_text().replace(
        "  - recipes/analytic.yaml\n", "  - recipes/analytic.yaml\n  - recipes/sd15.yaml\n"
    )
    path.write_text(text)
    _newer(monkeypatch)
    list(upgrade(made))
    assert path.read_text() == text.replace("# The default suite:", "# As of version 2, the suite:")


def test_what_reruns_is_said_with_the_stages_after_it(made: Path) -> None:
    kit = json.loads((made / "kit.json").read_text())
    kit["code"]["mesh"] = "0" * 64
    (made / "kit.json").write_text(json.dumps(kit))
    assert list(upgrade(made)) == [
        "default: mesh of every asset reruns",
        "default: then evaluate, score, report, where what they read has changed",
    ]
    assert list(upgrade(made)) == []


def test_of_a_folder_everything_is_brought_up_to_date(workspace: Path) -> None:
    before = {path: path.read_bytes() for path in workspace.rglob("*.yaml")}
    story = list(upgrade(workspace, ["trio"]))
    suite = workspace / "suites" / "trio"
    assert f"{suite}/dvc.yaml: written" in story
    assert f"{suite}/assets/red_ball/dvc.yaml: written" in story
    assert (suite / ".dvc" / "config").is_file()
    assert list(upgrade(workspace, ["trio"])) == []
    assert {path: path.read_bytes() for path in before} == before


def test_a_suite_that_is_not_valid_is_refused(workspace: Path) -> None:
    path = workspace / "suites/trio/assets/red_ball/asset.yaml"
    path.write_text(path.read_text().replace("recipe: toybox", "recipe: nosuch"))
    with pytest.raises(RecipeError, match=r"asset\.yaml:2: recipe: found no recipes/nosuch\.yaml"):
        list(upgrade(workspace, ["trio"]))


def test_a_suite_that_is_not_there_is_refused(workspace: Path) -> None:
    with pytest.raises(RecipeError, match="nosuch"):
        list(upgrade(workspace, ["nosuch"]))
    assert not (workspace / "suites" / "nosuch").exists()


def test_what_happened_before_a_problem_is_said(made: Path) -> None:
    """What was said has happened: nothing changes without a word."""
    (made / "suites" / "bad").mkdir(parents=True)
    (made / "suites" / "bad" / "suite.yaml").write_text("nonsense: 1\n")
    kit = json.loads((made / "kit.json").read_text())
    kit["code"]["mesh"] = "0" * 64
    (made / "kit.json").write_text(json.dumps(kit))
    lines = upgrade(made)
    assert next(lines) == "default: mesh of every asset reruns"
    with pytest.raises(RecipeError, match=r"suite\.yaml"):
        list(lines)
    assert list(upgrade(made, ["default"])) == []


def test_a_pipeline_that_is_gone_is_written_again(made: Path) -> None:
    path = made / "dvc.yaml"
    before = path.read_text()
    path.unlink()
    assert list(upgrade(made)) == [f"{made}/dvc.yaml: written"]
    assert path.read_text() == before
    assert list(upgrade(made)) == []


@pytest.mark.parametrize("name", ["dvc.yaml", ".dvc/dreamfusion-kit.pipeline"])
def test_what_is_no_text_is_refused_and_kept(made: Path, name: str) -> None:
    (made / name).write_bytes(b"\n\xff")
    with pytest.raises(RecipeError, match=rf"{name}:2: found byte 0xff, expected UTF-8 text"):
        list(upgrade(made))
    assert (made / name).read_bytes() == b"\n\xff"


def test_a_recipe_that_is_gone_changes_no_pipeline(tmp_path: Path) -> None:
    """Whether its asset is refined is not known then."""
    init(tmp_path / "made", "magic3d-toybox")
    before = (tmp_path / "made" / "dvc.yaml").read_text()
    shutil.rmtree(tmp_path / "made" / "recipes")
    with pytest.raises(RecipeError, match=r"magic3d-toybox\.yaml; that folder has none$"):
        list(upgrade(tmp_path / "made"))
    assert (tmp_path / "made" / "dvc.yaml").read_text() == before
