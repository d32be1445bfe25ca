"""Suites of any prompts are not measured by the toybox's captions."""

import re
import shutil
from pathlib import Path

import pytest

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.workspace import folder, protocol

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [("sd21", True), ("sdxl", True), ("if", True), ("toybox", False), ("analytic", False)],
)
def test_what_a_prior_knows(recipe: str, expected: bool) -> None:
    assert protocol.is_pretrained(load_recipe(RECIPES / f"{recipe}.yaml")) is expected


def test_a_checkpoint_of_one_s_own_knows_any_prompt(workspace: Path) -> None:
    text = (RECIPES / "sd21.yaml").read_text()
    hub = re.search(r"^  source:\n(?:    .*\n)+", text, re.MULTILINE)
    assert hub is not None
    for source in (
        "{kind: local, path: models/mine}",
        f"{{kind: file, path: mine.safetensors, sha256: '{64 * '0'}', prediction_type: epsilon}}",
    ):
        path = workspace / "recipes" / "mine.yaml"
        path.write_text(text.replace(hub.group(), f"  source: {source}\n"))
        assert protocol.is_pretrained(load_recipe(path))


def test_a_suite_of_a_pretrained_recipe_has_its_own_protocol(workspace: Path) -> None:
    for name in ("sd21", "toybox"):
        shutil.copy(RECIPES / f"{name}.yaml", workspace / "recipes")
    folder.new_suite(workspace, "any", recipe="sd21", seeds=(0, 1))
    folder.new_suite(workspace, "toys", recipe="toybox")
    folder.new_suite(workspace, "blobs", recipe="analytic")
    folder.new_suite(workspace, "none")
    shared = load_suite(workspace, "default").evaluation
    assert shared.caption_pool.kind == "toybox"
    assert load_suite(workspace, "any").evaluation.caption_pool.kind == "suite"
    assert load_suite(workspace, "any").seeds == (0, 1)
    for name in ("toys", "blobs", "none"):
        assert load_suite(workspace, name).evaluation == shared


def test_where_the_workspaces_protocol_fits_it_is_shared(workspace: Path) -> None:
    shutil.copy(RECIPES / "sd21.yaml", workspace / "recipes")
    params = workspace / "params.yaml"
    text = params.read_text().partition("\nevaluation:")[0]
    params.write_text(text + "\n" + protocol.protocol(load_recipe(RECIPES / "sd21.yaml")))
    folder.new_suite(workspace, "any", recipe="sd21")
    assert "evaluation: null" in (workspace / "suites" / "any" / "suite.yaml").read_text()


def test_an_unknown_recipe_makes_nothing(workspace: Path) -> None:
    with pytest.raises(RecipeError, match=r"--recipe nope: found no recipes/nope\.yaml"):
        folder.new_suite(workspace, "any", recipe="nope")
    assert not (workspace / "suites" / "any").exists()
