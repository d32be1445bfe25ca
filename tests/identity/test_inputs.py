"""An edit of an input changes the digests of the stages that read it, and of no other."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from dreamfusion_kit.identity.inputs import (
    REFINE_SECTIONS,
    asset_digests,
    recipe_digest,
    suite_digests,
)
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.resolved import resolve, resolve_all
from dreamfusion_kit.recipe.schema import Recipe
from dreamfusion_kit.recipe.suite import load_suite

ALL = {"embed", "optimize", "mesh", "evaluate"}


def _digests(asset: str = "red_mug") -> dict[str, str]:
    protocol = load_suite(Path(), "default").evaluation
    return dict(asset_digests(resolve(Path(), "default", asset), protocol))


def _changed(edit: Any) -> set[str]:
    before = _digests()
    edit()
    after = _digests()
    return {stage for stage in before if before[stage] != after[stage]}


def _edit(file: str, *keys: str, value: object) -> None:
    """Write a file with another value at `keys`, as YAML in JSON's form."""
    data = yaml.safe_load(Path(file).read_text())
    place = data
    for key in keys[:-1]:
        place = place[key]
    assert place[keys[-1]] != value
    place[keys[-1]] = value
    Path(file).write_text(json.dumps(data, indent=1))


@pytest.mark.parametrize(
    ("keys", "value", "expected"),
    [
        (("prompt",), "a red ball", ALL - {"optimize"}),  # optimize reads its text features
        (("seed",), 5, {"optimize", "mesh"}),
        (("overrides",), {"mesh.texture_size_px": 32}, {"mesh"}),
        (("overrides",), {"optimize.num_steps": 700}, {"optimize", "mesh", "evaluate"}),
        (("overrides",), {"guidance.negative_prompt": "ugly"}, {"embed", "optimize", "mesh"}),
        (("overrides",), {"renderer.num_samples": 9}, {"optimize", "mesh", "evaluate"}),
        (("overrides",), {"camera.position_jitter": 0.3}, {"optimize", "mesh"}),
        (("overrides",), {"summary": "another word"}, {"mesh"}),  # the GLB names its recipe
    ],
)
@pytest.mark.usefixtures("workspace")
def test_an_edit_of_an_asset(keys: tuple[str, ...], value: object, expected: set[str]) -> None:
    other = _digests("blue_house")
    assert (
        _changed(lambda: _edit("params.yaml", "assets", "red_mug", *keys, value=value)) == expected
    )
    assert _digests("blue_house") == other


@pytest.mark.usefixtures("workspace")
def test_an_edit_of_the_protocol_is_one_of_the_evaluation() -> None:
    place = ("evaluation", "views", "num_azimuths")
    assert _changed(lambda: _edit("params.yaml", *place, value=3)) == {"evaluate"}


@pytest.mark.usefixtures("workspace")
def test_layout_and_comments_of_a_file_are_no_inputs() -> None:
    def edit() -> None:
        for name in ("params.yaml", "recipes/toybox.yaml"):
            path = Path(name)
            path.write_text("# A remark.\n" + json.dumps(yaml.safe_load(path.read_text())))

    assert _changed(edit) == set()


def test_every_section_of_a_recipe_is_read_by_a_stage() -> None:
    assert {*REFINE_SECTIONS, "summary"} == set(Recipe.model_fields)


@pytest.mark.usefixtures("workspace")
def test_a_recipe_is_fetched_again_where_its_prior_changes() -> None:
    path = Path("recipes/analytic.yaml")
    before = recipe_digest(load_recipe(path))
    text = path.read_text()
    path.write_text(text.replace("guidance_scale: 1.0", "guidance_scale: 3.0"))
    assert recipe_digest(load_recipe(path)) == before
    path.write_text(text.replace("image_size_px: 16", "image_size_px: 8", 1))
    assert recipe_digest(load_recipe(path)) != before


@pytest.mark.parametrize(
    ("keys", "value", "expected"),
    [
        (("evaluation", "confidence_level"), 0.5, {"score"}),
        (("evaluation", "clip", "path"), "elsewhere", {"clip", "score"}),
        (("assets", "red_mug", "prompt"), "a red ball", {"report"}),
    ],
)
@pytest.mark.usefixtures("workspace")
def test_what_spans_a_suite(keys: tuple[str, ...], value: object, expected: set[str]) -> None:
    def digests() -> dict[str, str]:
        suite = load_suite(Path(), "default")
        return suite_digests(suite, resolve_all(Path(), suite), Path())

    before = digests()
    _edit("params.yaml", *keys, value=value)
    after = digests()
    assert {key for key in before if before[key] != after[key]} == expected


@pytest.mark.usefixtures("workspace")
def test_the_order_of_assets_is_that_of_the_table() -> None:
    suite = load_suite(Path(), "default")
    assets = resolve_all(Path(), suite)
    turned = dict(reversed(assets.items()))
    in_order, turned_round = (suite_digests(suite, found, Path()) for found in (assets, turned))
    assert in_order["score"] != turned_round["score"]
