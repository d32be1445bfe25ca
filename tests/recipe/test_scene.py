"""Declared scenes: what is checked, and that problems are named by their lines."""

import json
import re
from pathlib import Path

import pytest

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe import check, json_schema
from dreamfusion_kit.recipe.load import load_yaml, validate
from dreamfusion_kit.recipe.scene import Scene, load_scene, scene_names

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "scenes" / "toy-table.yaml"
USED = ("red_mug", "blue_rocket", "purple_mushroom", "yellow_cone")


@pytest.fixture
def table(workspace: Path) -> Path:
    """Return the shipped scene with the assets of the tests' workspace."""
    text = SHIPPED.read_text()
    for asset in USED:
        text = text.replace(f"asset: {asset}", "asset: red_mug")
    path = workspace / "scenes" / "toy-table.yaml"
    path.parent.mkdir()
    path.write_text(text)
    return path


def refused(workspace: Path, path: Path, old: str, new: str) -> str:
    text = path.read_text()
    assert len(re.findall(old, text)) >= 1
    path.write_text(re.sub(old, new, text, count=1))
    with pytest.raises(RecipeError) as caught:
        load_scene(workspace, "default", "toy-table")
    return str(caught.value)


def test_the_shipped_scene_is_of_the_default_suite() -> None:
    scene = load_scene(ROOT, "default", "toy-table")
    assert set(scene.assets) == set(USED)
    assert scene_names(ROOT, "default") == ["toy-table"]


def test_the_shipped_schema_is_current() -> None:
    shipped = (ROOT / "scenes" / "scene.schema.json").read_text()
    assert shipped == json_schema.scene_json_schema()
    assert json.loads(shipped)["title"] == "Scene"


def test_validate_checks_scenes(table: Path, workspace: Path) -> None:
    assert table in check.workspace_files(workspace)
    check.check_files([table])
    table.write_text(table.read_text().replace("asset: red_mug", "asset: red_mugg", 1))
    with pytest.raises(RecipeError, match="did you mean red_mug"):
        check.check_files(check.workspace_files(workspace))


def test_a_scene_of_a_suites_folder_has_its_assets(table: Path, workspace: Path) -> None:
    own = workspace / "suites" / "trio" / "scenes" / "toy-table.yaml"
    own.parent.mkdir()
    own.write_text(table.read_text().replace("asset: red_mug", "asset: cyan_cone"))
    check.check_files([own])
    assert load_scene(workspace, "trio", "toy-table").assets == ("cyan_cone",)
    table.write_text(own.read_text())
    with pytest.raises(RecipeError, match="found no asset cyan_cone"):
        load_scene(workspace, "default", "toy-table")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("asset: red_mug", "asset: red_mgu", r"objects\.mug\.asset: .*\(did you mean red_mug\?\)"),
        ("scene: toy-table", "scene: other", "scene: found other, expected toy-table"),
        (r"scale: [\d.]+", "scale: -1", r"objects\.mug\.scale: found -1"),
        (r"rotation_deg: \[", "rotation: [", r"unknown key \(did you mean rotation_deg\?\)"),
        ("  mug:", "  ground:", r"objects\.ground: expected another name"),
        ("environment: studio", "environment: null", "either an environment or a file"),
        ("environment: studio", "environment: noon", "'studio', 'sunset' or 'overcast'"),
        ("file: null", "file: ../../x.hdr", "file"),
        (r"fov_y_deg: \d+", "fov_y_deg: .nan", "fov_y_deg"),
        ("seed: 0", "seed: x", "seed"),
        (r"elevation_deg: \[[\d., -]+\]", "elevation_deg: [10, 90]", r"elevation_deg.*90"),
    ],
)
def test_problems_have_a_line(table: Path, workspace: Path, old: str, new: str, said: str) -> None:
    message = refused(workspace, table, old, new)
    assert re.search(said, message), message
    assert re.match(r"scenes/toy-table\.yaml:\d+: ", message)


def test_an_unknown_scene_is_named(table: Path, workspace: Path) -> None:
    with pytest.raises(RecipeError, match=r"no such scene \(did you mean toy-table\?\)"):
        load_scene(workspace, "default", "toy-tabel")
    with pytest.raises(RecipeError, match="expected a name of"):
        load_scene(workspace, "default", "../x")


def test_ground_background_and_flight_can_be_left_out(table: Path) -> None:
    data = load_yaml(table)
    data.data.update({"ground": None, "background": None})
    data.data["camera"]["fly_around"] = None
    scene = validate(data, Scene)
    assert (scene.ground, scene.background, scene.camera.fly_around) == (None, None, None)
