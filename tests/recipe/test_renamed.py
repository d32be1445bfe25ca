"""An old recipe, and an override of before, are refused with what to write in their place."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.load import load_yaml, validate
from dreamfusion_kit.recipe.overrides import with_overrides
from dreamfusion_kit.recipe.renamed import RENAMED
from dreamfusion_kit.recipe.schema import Recipe
from dreamfusion_kit.recipe.yaml_text import parse

RECIPES = Path(__file__).parents[2] / "recipes"


def problems(text: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        validate(parse(text, "old.yaml"), Recipe)
    return str(caught.value).splitlines()


def test_an_old_section_is_one_problem_that_says_how_to_convert_it() -> None:
    text = (RECIPES / "toybox.yaml").read_text().replace("\n  penalties:", "\n  regularizers:")
    (line,) = problems(text)
    assert re.match(r"old\.yaml:\d+: optimize\.regularizers: renamed key; ", line)
    assert "write optimize.penalties with its lambdas divided by the pixels" in line
    assert "4096 for 64 x 64" in line


def test_an_old_proposal_is_refused_too() -> None:
    text = (RECIPES / "mip-nerf-360-scene.yaml").read_text()
    (line,) = problems(text.replace("      loss_lambda: 1.0", "      interlevel_lambda: 4096.0"))
    assert "renderer.beyond.proposal.interlevel_lambda: renamed key; " in line
    assert "write renderer.beyond.proposal.loss_lambda, divided by" in line


def test_an_override_of_before_is_refused() -> None:
    recipe = load_yaml(RECIPES / "toybox.yaml")
    suite = parse("overrides:\n  optimize.regularizers.opacity_lambda: 8.0\n", "params.yaml")
    with pytest.raises(RecipeError, match=r"renamed key; write optimize\.penalties") as caught:
        with_overrides(recipe, suite, ("overrides",))
    assert str(caught.value).startswith("params.yaml:2: ")


@pytest.mark.parametrize("key", RENAMED)
def test_no_shipped_recipe_and_no_schema_has_the_old_key(key: str) -> None:
    section, _, last = key.rpartition(".")
    for path in RECIPES.glob("*.yaml"):
        node: Any = load_yaml(path).data
        for name in section.split("."):
            node = (node or {}).get(name)
        assert last not in (node or {}), path
    for path in RECIPES.parent.glob("suites/*/*.yaml"):
        assert key not in path.read_text(), path


def test_a_refinement_of_before_is_told_where_each_key_goes() -> None:
    data = yaml.safe_load((RECIPES / "magic3d-toybox.yaml").read_text())
    (phase,) = data["refine"].pop("phases")
    phase.pop("learns")
    data["refine"] |= phase
    lines = problems(yaml.safe_dump(data, sort_keys=False))
    assert len(lines) == len(phase)
    for name, line in zip(phase, lines, strict=True):
        assert f": refine.{name}: renamed key; write refine.phases[0].{name}" in line


def test_an_override_of_a_refinement_of_before_is_refused() -> None:
    recipe = load_yaml(RECIPES / "magic3d-toybox.yaml")
    suite = parse("overrides:\n  refine.optimize.num_steps: 8\n", "params.yaml")
    with pytest.raises(RecipeError, match=r"write refine\.phases\[0\]\.optimize"):
        with_overrides(recipe, suite, ("overrides",))
