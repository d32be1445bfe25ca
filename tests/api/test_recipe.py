"""Recipes by name, by path and with overrides, and what is wrong with them."""

from pathlib import Path

import pytest

from dreamfusion_kit.api.recipe import load_recipe, shipped_recipes
from dreamfusion_kit.errors import RecipeError

ROOT = Path(__file__).parents[2]


def test_the_shipped_recipes_are_those_of_the_clone() -> None:
    assert shipped_recipes() == sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml"))


def test_every_shipped_recipe_loads() -> None:
    assert all(load_recipe(name).summary for name in shipped_recipes())


def test_a_name_and_the_path_of_its_file_are_the_same() -> None:
    path = ROOT / "recipes" / "toybox.yaml"
    assert load_recipe("toybox") == load_recipe(path) == load_recipe(str(path))


def test_overrides_change_their_keys_alone() -> None:
    plain = load_recipe("toybox")
    changed = load_recipe(
        "toybox",
        {"optimize.num_steps": 77, "camera.radius_range": (1.9, 2.0), "mesh.max_faces": 99},
    )
    assert changed.optimize.num_steps == 77
    assert changed.camera.radius_range == (1.9, 2.0)
    assert changed.mesh.max_faces == 99
    others = {"optimize", "camera", "mesh"}
    assert changed.model_dump(exclude=others) == plain.model_dump(exclude=others)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("toibox", r"recipe toibox: .*did you mean toybox\?.*analytic, "),
        ("nothing.yaml", r"nothing\.yaml:1: No such file"),
        ("../recipes", "expected a YAML file"),
    ],
)
def test_what_is_no_recipe_is_refused(name: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(name)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"optimize.num_stpes": 7}, r"overrides\.optimize\.num_stpes: .*optimize\.num_steps\?"),
        ({"optimize.num_steps": -7}, r"overrides\.optimize\.num_steps: found -7, expected"),
        ({"optimize.num_steps": 7.5}, r"overrides\.optimize\.num_steps: found 7.5, expected"),
        ({"optimize.max_gradient_norm": float("nan")}, "overrides: found a value .* finite"),
        ({"optimize.num_steps": Path()}, "overrides: found a value that YAML cannot say"),
        ({"optimize": 1, "optimize.num_steps": 2}, "optimize, which contains it"),
        ({"prior.source.kind": "hub"}, "found another model"),
        ({f"mesh.formats.{'9' * 5000}": "glb"}, "unknown item: mesh.formats has"),
    ],
)
def test_overrides_that_cannot_be_are_refused(overrides: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("toybox", overrides)


def test_each_problem_names_its_override() -> None:
    with pytest.raises(RecipeError) as raised:
        load_recipe("toybox", {"optimize.num_steps": -1, "camera.radius_range": [1.0, "far"]})
    first, second = str(raised.value).splitlines()
    assert first.startswith("load_recipe:1: overrides.optimize.num_steps: found -1")
    assert second.startswith('load_recipe:2: overrides.camera.radius_range[1]: found "far"')
