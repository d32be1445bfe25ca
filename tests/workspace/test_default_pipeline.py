import shutil
from pathlib import Path

import pytest
import yaml
from ruamel.yaml import YAML

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.resolved import refined_assets
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.recipe.workspace import DEFAULT
from dreamfusion_kit.workspace import edit
from dreamfusion_kit.workspace.default_pipeline import with_refinement, without_refinement
from dreamfusion_kit.workspace.init import init
from dreamfusion_kit.workspace.pipeline import stale_pipelines
from dreamfusion_kit.workspace.sync import sync


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    init(tmp_path / "here", "toybox")
    return tmp_path / "here"


def _again(text: str, workspace: Path) -> str:
    suite = load_suite(workspace, DEFAULT)
    return with_refinement(text, suite, refined_assets(workspace, suite))


def _add_refined(workspace: Path) -> None:
    edit.add(workspace, DEFAULT, "car", prompt="a pink car", recipe="magic3d-toybox", seed=0)


def test_a_suite_that_refines_nothing_keeps_the_shipped_pipeline(workspace: Path) -> None:
    text = (workspace / "dvc.yaml").read_text()
    assert "refine" not in text
    assert _again(text, workspace) == text
    assert stale_pipelines(workspace, load_suite(workspace, DEFAULT)) == []


def test_a_refined_asset_has_a_stage_and_the_others_have_not(workspace: Path) -> None:
    plain = (workspace / "dvc.yaml").read_text()
    _add_refined(workspace)
    text = (workspace / "dvc.yaml").read_text()
    stages = yaml.safe_load(text)["stages"]
    assert stages["refine"]["foreach"] == {"car": {"recipe": "magic3d-toybox"}}
    assert stages["evaluate"]["foreach"] == {
        "red_mug": {"mesh": "mesh"},
        "car": {"mesh": "refined"},
    }
    assert "out/${item.mesh}/${key}" in stages["evaluate"]["do"]["deps"]
    assert "out/refined" in stages["report"]["deps"]
    assert (
        list(stages).index("mesh") < list(stages).index("refine") < list(stages).index("evaluate")
    )
    assert without_refinement(text) == plain
    assert _again(text, workspace) == text
    edit.remove(workspace, DEFAULT, "car")
    assert (workspace / "dvc.yaml").read_text() == plain


def test_a_pipeline_of_other_assets_is_refused(workspace: Path) -> None:
    plain = (workspace / "dvc.yaml").read_text()
    _add_refined(workspace)
    sync(workspace, DEFAULT)
    (workspace / "dvc.yaml").write_text(plain)
    with pytest.raises(RecipeError, match=r"dvc\.yaml: found a pipeline of other assets.*upgrade"):
        sync(workspace, DEFAULT)


def test_what_was_edited_by_hand_stays(workspace: Path) -> None:
    path = workspace / "dvc.yaml"
    edited = path.read_text().replace("  mesh:\n", "  mesh:  # mine\n")
    path.write_text(edited)
    _add_refined(workspace)
    assert "  mesh:  # mine\n" in path.read_text()
    edit.remove(workspace, DEFAULT, "car")
    assert path.read_text() == edited


def test_an_edited_stage_that_cannot_take_the_refinement_is_refused(workspace: Path) -> None:
    path = workspace / "dvc.yaml"
    path.write_text(path.read_text().replace("  evaluate:\n", "  evaluate:  # ours\n"))
    before = (workspace / "params.yaml").read_text()
    with pytest.raises(RecipeError, match="found stages edited by hand where car need"):
        _add_refined(workspace)
    assert (workspace / "params.yaml").read_text() == before


def test_nothing_is_removed_where_the_pipeline_cannot_follow(workspace: Path) -> None:
    _add_refined(workspace)
    edit.add(workspace, DEFAULT, "ball", prompt="a red ball", recipe="toybox", seed=0)
    path = workspace / "dvc.yaml"
    path.write_text(path.read_text().replace("  evaluate:\n", "  evaluate:  # ours\n"))
    (workspace / "out" / "mesh" / "ball").mkdir(parents=True)
    before = (workspace / "params.yaml").read_text()
    with pytest.raises(RecipeError, match="found stages edited by hand where car need"):
        edit.remove(workspace, DEFAULT, "ball")
    assert (workspace / "params.yaml").read_text() == before
    assert (workspace / "out" / "mesh" / "ball").is_dir()


def test_ids_that_yaml_reads_as_something_else_stay_text(workspace: Path) -> None:
    """DVC reads dvc.yaml by ruamel.yaml: 1e3 would be out/evaluation/1000.0, null nothing."""
    ids = ["123", "007", "1e3", "null", "true", "0x1f", "1_000", "__"]
    recipe = workspace / "recipes" / "magic3d-toybox.yaml"
    shutil.copyfile(recipe, recipe.with_name("1e3.yaml"))
    plain = (workspace / "dvc.yaml").read_text()
    for name in ids:
        edit.add(workspace, DEFAULT, name, prompt="a pink car", recipe="1e3", seed=0)
    stages = YAML(typ="safe").load((workspace / "dvc.yaml").read_text())["stages"]
    assert stages["refine"]["foreach"] == {name: {"recipe": "1e3"} for name in ids}
    assert list(stages["evaluate"]["foreach"]) == ["red_mug", *ids]
    for name in ids:
        edit.remove(workspace, DEFAULT, name)
    assert (workspace / "dvc.yaml").read_text() == plain


def test_no_stage_goes_with_the_refinement_s(workspace: Path) -> None:
    """Without the blank line behind it, by hand or by another program, the next stage stays."""
    path = workspace / "dvc.yaml"
    plain = path.read_text()
    _add_refined(workspace)
    path.write_text(path.read_text().replace("refine.json\n\n", "refine.json\n"))
    edit.remove(workspace, DEFAULT, "car")
    assert yaml.safe_load(path.read_text()) == yaml.safe_load(plain)


def test_a_stage_refine_of_the_user_s_own_stays(workspace: Path) -> None:
    path = workspace / "dvc.yaml"
    own = "  refine:\n    cmd: blender --background\n    deps: [out/mesh]\n\n"
    path.write_text(path.read_text().replace("  score:\n", own + "  score:\n"))
    edited = path.read_text()
    edit.add(workspace, DEFAULT, "ball", prompt="a red ball", recipe="toybox", seed=0)
    assert path.read_text() == edited
    with pytest.raises(RecipeError, match="and no other stage refine; make these assets"):
        _add_refined(workspace)
    assert path.read_text() == edited
