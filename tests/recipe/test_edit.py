"""Editing a suite keeps every other byte, and never writes what is not valid."""

import os
import re
import stat
from pathlib import Path

import pytest
import yaml

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.edit import add_asset, remove_asset
from dreamfusion_kit.recipe.suite import load_suite


@pytest.fixture
def params(workspace: Path) -> Path:
    return workspace / "params.yaml"


def _add(asset_id: str = "blue_car", prompt: str = "a blue car", recipe: str = "toybox") -> Path:
    return add_asset(Path(), asset_id, prompt=prompt, recipe=recipe, seed=3)


def test_an_asset_is_added_after_the_last(params: Path) -> None:
    before = params.read_text()
    assert _add() == params
    block = (
        "  blue_car:\n    prompt: a blue car\n    recipe: toybox\n    seed: 3\n    overrides: {}\n"
    )
    head, tail = before.split("\n# The exam.")
    assert params.read_text() == f"{head}{block}\n# The exam.{tail}"
    asset = load_suite(Path(), "default").assets["blue_car"]
    assert (asset.prompt, asset.seed, asset.overrides) == ("a blue car", 3, {})


def test_adding_and_removing_gives_back_every_byte(params: Path) -> None:
    before = params.read_bytes()
    _add(recipe="analytic")
    assert "recipes: [toybox, analytic]" in params.read_text()
    remove_asset(Path(), "blue_car")
    assert params.read_bytes() == before


@pytest.mark.parametrize("asset_id", ["red_mug", "green_robot", "yellow_duck"])
def test_removing_keeps_every_other_line(params: Path, asset_id: str) -> None:
    # A comment above and below each asset, to be kept.
    text = re.sub(r"(?m)^  (\w+):$(?=\n    prompt)", r"  # above \1\n  \1:", params.read_text())
    params.write_text(text)
    lines = text.splitlines()
    start = lines.index(f"  {asset_id}:")
    remove_asset(Path(), asset_id)
    assert params.read_text().splitlines() == lines[:start] + lines[start + 5 :]


def test_a_prompt_on_several_lines_is_removed_whole(params: Path) -> None:
    original = params.read_text()
    params.write_text(
        original.replace(
            "    prompt: a yellow duck\n    recipe: toybox\n    seed: 0\n    overrides: {}\n",
            "    recipe: toybox\n    seed: 0\n    overrides:\n      summary: >-\n        a\n"
            "        b\n    prompt: >-\n      a yellow\n      duck\n",
        )
    )
    remove_asset(Path(), "yellow_duck")
    assert params.read_text() == original.replace(
        "  yellow_duck:\n    prompt: a yellow duck\n    recipe: toybox\n    seed: 0\n"
        "    overrides: {}\n",
        "",
    )


@pytest.mark.parametrize(
    ("asset_id", "prompt"),
    [
        ("on", "yes"),
        ("x123", "1e3"),
        ("quotes", 'it\'s "great": {a} # b'),
        ("dashes", "- a mug"),
        ("beyond", "ein grüner Würfel 方 🎲"),
    ],
)
def test_awkward_words_come_back_as_they_were(params: Path, asset_id: str, prompt: str) -> None:
    _add(asset_id, prompt)
    assert load_suite(Path(), "default").assets[asset_id].prompt == prompt
    assert params.read_text().endswith("confidence_level: 0.95\n")


@pytest.mark.parametrize("asset_id", ["1e3", "123", "null", "true"])
def test_ids_that_look_like_numbers_are_quoted(params: Path, asset_id: str) -> None:
    _add(asset_id)
    assert asset_id in load_suite(Path(), "default").assets
    remove_asset(Path(), asset_id)
    assert asset_id not in params.read_text()


def test_windows_line_ends_are_kept_elsewhere(params: Path) -> None:
    params.write_bytes(params.read_bytes().replace(b"\n", b"\r\n"))
    before = params.read_bytes()
    _add()
    assert params.read_bytes().replace(b"\r\n", b"\n").count(b"  blue_car:\n") == 1
    remove_asset(Path(), "blue_car")
    assert params.read_bytes() == before


def test_permissions_and_links_survive(params: Path) -> None:
    target = params.rename("real.yaml")
    target.chmod(0o640)
    params.symlink_to(target)
    _add()
    assert params.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    assert "blue_car" in target.read_text()


@pytest.mark.parametrize(
    ("asset_id", "prompt", "recipe", "message"),
    [
        ("red_mug", "a mug", "toybox", "params.yaml:1: asset 'red_mug' is there already"),
        ("Red", "a mug", "toybox", "asset 'Red': expected an id"),
        ("a: b", "a mug", "toybox", "asset 'a: b': expected an id"),
        ("x", "", "toybox", "params.yaml (not written):"),
        ("x", "a\nb", "toybox", "found the character U+000A, expected one line"),
        ("x", "\udcff", "toybox", "found half of a surrogate pair, expected Unicode text"),
        ("x", "a mug", "toybax", "found no recipes/toybax.yaml (did you mean toybox?)"),
        ("x", "a mug", "../toybox", 'recipe: found "../toybox", expected 1 to 64 of'),
    ],
)
def test_what_cannot_be_added_leaves_the_file_alone(
    params: Path, asset_id: str, prompt: str, recipe: str, message: str
) -> None:
    before = params.read_bytes()
    with pytest.raises(RecipeError, match=re.escape(message)):
        _add(asset_id, prompt, recipe)
    assert params.read_bytes() == before
    assert sorted(os.listdir()) == ["params.yaml", "recipes", "suites"]


def test_what_cannot_be_removed_leaves_the_file_alone(params: Path) -> None:
    with pytest.raises(RecipeError, match=r"did you mean red_mug\?"):
        remove_asset(Path(), "red_mog")
    for asset_id in ("red_mug", "blue_house", "green_robot"):
        remove_asset(Path(), asset_id)
    with pytest.raises(RecipeError, match="'yellow_duck' is the only asset"):
        remove_asset(Path(), "yellow_duck")
    assert list(yaml.safe_load(params.read_text())["assets"]) == ["yellow_duck"]


def test_a_suite_with_a_broken_asset_can_be_mended(params: Path) -> None:
    params.write_text(params.read_text().replace("prompt: a red mug", "prompt: ' a mug'"))
    with pytest.raises(RecipeError, match="white space"):
        load_suite(Path(), "default")
    remove_asset(Path(), "red_mug")
    assert "red_mug" not in load_suite(Path(), "default").assets


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("assets:", "assets: {}\nother:", "expected assets as indented lines"),
    ],
)
def test_forms_that_cannot_be_edited_are_named(
    params: Path, old: str, new: str, message: str
) -> None:
    params.write_text(params.read_text().replace(old, new))
    with pytest.raises(RecipeError, match=message):
        _add(recipe="analytic")


@pytest.mark.parametrize(
    "block", ["recipes:\n- toybox\n", "recipes:\n  - toybox\n", "recipes: [\n  toybox]\n"]
)
def test_recipes_on_lines_of_their_own_are_extended(params: Path, block: str) -> None:
    """`dvc exp run -S` rewrites params.yaml so."""
    params.write_text(params.read_text().replace("recipes: [toybox]\n", block))
    _add(recipe="analytic")
    assert "\nrecipes: [toybox, analytic]\n\nassets:" in params.read_text()
    assert load_suite(Path(), "default").recipes == ("toybox", "analytic")


def test_a_failed_write_leaves_nothing_behind(
    params: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = params.read_bytes()

    def fail(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        _add()
    assert params.read_bytes() == before
    assert sorted(os.listdir()) == ["params.yaml", "recipes", "suites"]
