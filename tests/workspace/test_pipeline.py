"""The dvc.yaml of scenes: written by upgrade, checked by sync."""

from pathlib import Path

import pytest
import yaml
from ruamel.yaml import YAML

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.identity import kit_file
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.workspace import edit, sync
from dreamfusion_kit.workspace.pipeline import stale_pipelines, write_pipelines

SHIPPED = Path(__file__).parents[2] / "scenes"


@pytest.fixture
def scene(workspace: Path) -> Path:
    path = workspace / "scenes" / "table.yaml"
    path.parent.mkdir()
    text = (SHIPPED / "toy-table.yaml").read_text().replace("scene: toy-table", "scene: table")
    for asset in ("blue_rocket", "purple_mushroom", "yellow_cone"):
        text = text.replace(f"asset: {asset}", "asset: red_mug")
    path.write_text(text)
    return path


def test_a_scene_is_a_stage_of_its_own(scene: Path, workspace: Path) -> None:
    suite = load_suite(workspace, "default")
    assert stale_pipelines(workspace, suite) == [workspace / "scenes" / "dvc.yaml"]
    with pytest.raises(RecipeError, match=r"scenes/dvc\.yaml: .*upgrade"):
        sync.sync(workspace, "default")
    write_pipelines(workspace, suite)
    stage = yaml.safe_load((workspace / "scenes" / "dvc.yaml").read_text())["stages"]["table"]
    assert stage["cmd"] == "exec dreamfusion-kit scene table"
    assert stage["deps"] == ["out/mesh/red_mug"]
    assert stage["outs"] == ["out/scene/table"]
    assert "scenes.table" in sync.sync(workspace, "default")


@pytest.mark.parametrize("name", ["1e3", "null", "2026-11-28"])
def test_a_scene_s_name_stays_text(scene: Path, workspace: Path, name: str) -> None:
    """DVC reads dvc.yaml by ruamel.yaml, which knows numbers and dates."""
    text = scene.read_text().replace("scene: table", f'scene: "{name}"')
    scene.unlink()
    (workspace / "scenes" / f"{name}.yaml").write_text(text)
    write_pipelines(workspace, load_suite(workspace, "default"))
    stages = YAML(typ="safe").load((workspace / "scenes" / "dvc.yaml").read_text())["stages"]
    assert list(stages) == [name]


def test_an_edit_of_the_scene_changes_its_digest_alone(scene: Path, workspace: Path) -> None:
    write_pipelines(workspace, load_suite(workspace, "default"))
    sync.sync(workspace, "default")
    scene.write_text(scene.read_text().replace("# The four", "# Four"))
    assert sync.sync(workspace, "default") == []
    scene.write_text(scene.read_text().replace("strength: 1.15", "strength: 1.0"))
    assert sync.sync(workspace, "default") == ["scenes.table"]
    assert "scenes" in kit_file.read(workspace, "default").suite


def test_the_light_that_a_scene_reads_counts(scene: Path, workspace: Path) -> None:
    write_pipelines(workspace, load_suite(workspace, "default"))
    text = scene.read_text().replace("environment: studio", "environment: null")
    scene.write_text(text.replace("file: null", "file: lights/sky.hdr"))
    with pytest.raises(RecipeError, match=r"sky\.hdr:1: not there"):
        sync.sync(workspace, "default")
    (workspace / "lights").mkdir()
    light = workspace / "lights" / "sky.hdr"
    light.write_bytes(b"one")
    sync.sync(workspace, "default")
    assert not sync.reads_no_other_files(workspace, "default")
    light.write_bytes(b"two")
    assert sync.sync(workspace, "default") == ["scenes.table"]


def test_the_shipped_pipeline_of_scenes_is_current() -> None:
    root = SHIPPED.parent
    stale = stale_pipelines(root, load_suite(root, "default"))
    assert stale == []


def test_an_asset_that_a_scene_shows_stays(scene: Path, workspace: Path) -> None:
    before = (workspace / "params.yaml").read_bytes()
    with pytest.raises(RecipeError, match=r"scenes/table\.yaml: found red_mug among its objects"):
        edit.remove(workspace, "default", "red_mug")
    assert (workspace / "params.yaml").read_bytes() == before
