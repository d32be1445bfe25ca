"""Every recipe and suite that the repository ships."""

import json
from pathlib import Path

import pytest

from dreamfusion_kit.recipe.canonical import canonical_json
from dreamfusion_kit.recipe.check import check_suite
from dreamfusion_kit.recipe.json_schema import recipe_json_schema
from dreamfusion_kit.recipe.load import load_recipe, load_yaml
from dreamfusion_kit.recipe.schema import Recipe
from dreamfusion_kit.recipe.yaml_text import dump, parse

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))
SUITES = ["default", *(path.parent.name for path in (ROOT / "suites").glob("*/suite.yaml"))]


def test_the_recipes_are_there() -> None:
    names = {path.stem for path in RECIPES}
    assert {"toybox", "toybox-hash", "toybox-smoke", "analytic"} <= names


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_nothing_is_added_by_loading(path: Path) -> None:
    # Equal data before and after: no default hides outside the file.
    assert canonical_json(load_recipe(path)) == canonical_json(load_yaml(path).data)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_dumped_recipe_loads_as_the_same(path: Path) -> None:
    recipe = load_recipe(path)
    data = parse(dump(recipe.model_dump(mode="json")), "dumped.yaml").data
    assert Recipe.model_validate_json(json.dumps(data)) == recipe


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_header_says_what_it_makes_and_how_to_run_it(path: Path) -> None:
    header, _, _ = path.read_text().partition("\nsummary:")
    assert header.startswith("# yaml-language-server: $schema=recipe.schema.json\n")
    assert f"# {path.stem}: " in header
    assert "What it makes" in header
    assert "python cli.py " in header
    assert max(map(len, path.read_text().splitlines())) <= 100


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_readme_lists_it(path: Path) -> None:
    assert f"`{path.stem}`" in (ROOT / "docs" / "recipes.md").read_text()


@pytest.mark.parametrize("name", SUITES)
def test_every_asset_of_every_suite_resolves(name: str) -> None:
    assert check_suite(ROOT, name).assets


def test_the_json_schema_is_fresh() -> None:
    shipped = (ROOT / "recipes" / "recipe.schema.json").read_text()
    assert shipped == recipe_json_schema(), "run: python cli.py schema > recipes/recipe.schema.json"
