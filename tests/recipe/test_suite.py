"""Suites: their files joined, and what they refuse together."""

import json
import shutil
from pathlib import Path

import pytest

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.load import load_yaml
from dreamfusion_kit.recipe.suite import load_protocol, load_suite

from .edits import edit


def _error(workspace: Path, name: str = "default") -> str:
    with pytest.raises(RecipeError) as caught:
        load_suite(workspace, name)
    return str(caught.value)


def test_another_suite_takes_the_protocol_of_the_root(workspace: Path) -> None:
    suite = load_suite(workspace, "trio")
    assert len(suite.assets) == 3
    assert suite.evaluation == load_suite(workspace, "default").evaluation


def test_another_suite_may_have_a_protocol_of_its_own(workspace: Path) -> None:
    root = load_yaml(workspace / "params.yaml").data["evaluation"]
    own = {**root, "confidence_level": 0.9}
    path = workspace / "suites/trio/suite.yaml"
    edit(path, "evaluation: null", f"evaluation: {json.dumps(own)}")
    assert load_suite(workspace, "trio").evaluation.confidence_level == 0.9
    assert load_protocol(workspace, "trio").confidence_level == 0.9
    assert load_protocol(workspace, "default").confidence_level == 0.95


def test_seeds_make_an_asset_each(workspace: Path) -> None:
    path = workspace / "suites/trio/suite.yaml"
    edit(path, "seeds: null", "seeds: [4, 0]")
    for folder in ("red_ball", "green_cube", "cyan_cone"):
        edit(workspace / f"suites/trio/assets/{folder}/asset.yaml", "seed: 0", "seed: null")
    suite = load_suite(workspace, "trio")
    assert list(suite.assets) == [
        f"{folder}_s{seed}" for folder in ("cyan_cone", "green_cube", "red_ball") for seed in (4, 0)
    ]
    assert suite.assets["red_ball_s4"].seed == 4
    assert suite.in_folder("red_ball") == ["red_ball_s4", "red_ball_s0"]


def test_a_seed_stands_in_one_place(workspace: Path) -> None:
    edit(workspace / "suites/trio/suite.yaml", "seeds: null", "seeds: [0, 1]")
    with pytest.raises(RecipeError) as caught:
        load_suite(workspace, "trio")
    assert str(caught.value).splitlines() == [
        f"suites/trio/assets/{folder}/asset.yaml:3: seed: found 0, expected null: the suite's "
        "seeds hold for every asset"
        for folder in ("cyan_cone", "green_cube", "red_ball")
    ]


def test_two_folders_may_not_give_one_asset(workspace: Path) -> None:
    root = workspace / "suites/trio"
    edit(root / "suite.yaml", "seeds: null", "seeds: [0, 1]")
    for folder in ("red_ball", "green_cube", "cyan_cone"):
        edit(root / f"assets/{folder}/asset.yaml", "seed: 0", "seed: null")
    # red_ball_s1 with seed 0 is red_ball_s1_s0; only the same folder's ids can meet.
    shutil.copytree(root / "assets/red_ball", root / "assets/red_ball_s1")
    assert "red_ball_s1_s0" in load_suite(workspace, "trio").assets


@pytest.mark.parametrize("folder", ["Red", "a-b", "x" * 65, "$(touch x)"])
def test_a_folders_name_is_an_id(workspace: Path, folder: str) -> None:
    root = workspace / "suites/trio/assets"
    shutil.copytree(root / "red_ball", root / folder)
    with pytest.raises(RecipeError, match="expected an id of 1 to 64"):
        load_suite(workspace, "trio")


@pytest.mark.parametrize("name", ["../default", "a/b", "", "UPPER", "x" * 65])
def test_suite_names_are_no_paths(workspace: Path, name: str) -> None:
    assert "expected a name of" in _error(workspace, name)


def test_an_absent_suite_is_named(workspace: Path) -> None:
    assert _error(workspace, "absent").startswith("suites/absent/suite.yaml:1: No such file")
