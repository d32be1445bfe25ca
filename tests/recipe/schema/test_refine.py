"""Phases of a refinement: what a recipe may ask of them, and what it is made of."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.document import Document
from dreamfusion_kit.recipe.load import load_recipe, validate
from dreamfusion_kit.recipe.overrides import with_overrides
from dreamfusion_kit.recipe.schema import Recipe
from dreamfusion_kit.recipe.yaml_text import parse

RECIPES = Path(__file__).parents[3] / "recipes"


def data(name: str = "prolificdreamer") -> dict[str, Any]:
    return yaml.safe_load((RECIPES / f"{name}.yaml").read_text())


def document(values: dict[str, Any]) -> Document:
    return parse(yaml.safe_dump(values, sort_keys=False), "tiny.yaml")


def changed(path: str, value: object, name: str = "prolificdreamer") -> Document:
    values = data(name)
    *sections, last = path.split(".")
    node: Any = values
    for key in sections:
        node = node[int(key) if isinstance(node, list) else key]
    node[last] = value
    return document(values)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "refine.phases.1.normal_map_probability",
            0.5,
            r"refine\.phases\[1\]: found learns texture with normal_map_probability 0\.5, expect",
        ),
        (
            "refine.phases.1.shading.textureless_probability",
            0.2,
            r"found learns texture with shading\.textureless_probability 0\.2, expected 0",
        ),
        (
            "refine.phases.1.optimize.penalties.laplacian_lambda",
            {"points": [[0, 0.0], [9, 1.0]]},
            r"found learns texture with optimize\.penalties\.laplacian_lambda above 0, expected 0",
        ),
        (
            "refine.phases.0.learns",
            "both",
            r"found learns both with normal_map_probability 1, expected less, or learns geometry",
        ),
        (
            "refine.phases.0.learns",
            "shape",
            r"refine\.phases\[0\]\.learns: found .shape., expected",
        ),
        ("refine.phases", [], r"refine\.phases: found \[\], expected at least 1 item"),
        ("refine.texture.kind", "picture", r"refine\.texture\.kind: found .picture., expected"),
        (
            "refine.texture.min_resolution",
            8192,
            r"found min_resolution 8192 and max_resolution 4096, expected min_resolution at",
        ),
    ],
)
def test_what_a_phase_cannot_learn_is_refused(path: str, value: object, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        validate(changed(path, value), Recipe)


LEARNED = {
    "roughness": {"kind": "fixed", "value": 0.5},
    "metallic": {"kind": "number", "start": 0.2, "learning_rate": 0.01},
}
FIXED = LEARNED | {"metallic": {"kind": "fixed", "value": 0.2}}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("learns", "geometry"),
        ("shading.shaded_probability", 0.0),
        ("shading.diffuse", 0.0),
        ("shading.textureless_probability", 1.0),
        ("shading.albedo_only_steps", 300),
    ],
)
def test_a_material_that_no_view_teaches_is_refused(path: str, value: object) -> None:
    name = "magic3d-toybox"
    values = changed(f"refine.phases.0.{path}", value, name).data
    values["refine"]["material"] = LEARNED
    with pytest.raises(
        RecipeError,
        match=r"refine: found material\.metallic\.kind number without a view that shows highlights",
    ):
        validate(document(values), Recipe)
    values["refine"]["material"] = FIXED
    validate(document(values), Recipe)
    validate(changed("refine.material", LEARNED, name), Recipe)


def test_a_prior_of_the_second_stage_is_checked_with_its_guidance() -> None:
    analytic = data("analytic")["prior"]
    found = changed("refine.prior", analytic)
    with pytest.raises(
        RecipeError,
        match=r"refine\.phases\[1\]\.guidance\.phi\.source with "
        r"refine\.prior\.kind analytic, expected null: only a latent_unet",
    ):
        validate(found, Recipe)
    clip = data("toybox-clip")["prior"]
    with pytest.raises(
        RecipeError,
        match=r"found refine\.phases\[0\]\.guidance\.kind sds with "
        r"refine\.prior\.kind clip",
    ):
        validate(changed("refine.prior", clip, "magic3d"), Recipe)


def test_a_recipe_s_models_have_keys() -> None:
    prolific = load_recipe(RECIPES / "prolificdreamer.yaml")
    later = "refine.phases[1].guidance.phi"
    assert list(prolific.models) == ["prior", "guidance.phi", later]
    assert prolific.models[later] == prolific.models["guidance.phi"]
    assert prolific.prior_key("refine.phases[1].guidance") == "prior"
    assert prolific.phi_of("refine.phases[0].guidance") is None
    magic = load_recipe(RECIPES / "magic3d.yaml")
    assert list(magic.models) == ["prior", "refine.prior"]
    assert magic.prior_key("refine.phases[0].guidance") == "refine.prior"
    assert magic.prior_of("guidance").kind == "pixel_unet"
    assert magic.prior_of("refine.phases[0].guidance").kind == "latent_unet"
    assert list(load_recipe(RECIPES / "toybox.yaml").models) == ["prior"]


def test_phi_has_the_other_network_without_what_is_added_to_the_prior() -> None:
    values = data()
    lora = {"source": {"kind": "file", "path": "a.safetensors", "sha256": "0" * 64}, "scale": 1.0}
    values["prior"]["loras"] = [lora]
    phi = validate(document(values), Recipe).phi_of("guidance")
    assert phi is not None
    assert phi.additions == {}
    assert phi.source == load_recipe(RECIPES / "prolificdreamer.yaml").guidance.phi_source


def test_texts_are_embedded_once_for_each_prior_and_set_of_words() -> None:
    one = "refine.phases[0].guidance"
    assert load_recipe(RECIPES / "magic3d-toybox.yaml").text_keys == ["guidance"]
    assert load_recipe(RECIPES / "magic3d.yaml").text_keys == ["guidance", one]
    # SDS does not read the plain prompt that VSD's phi reads, and both VSDs read the same.
    assert load_recipe(RECIPES / "prolificdreamer.yaml").text_keys == ["guidance", one]
    toy = "magic3d-toybox"
    wider = changed("refine.phases.0.guidance.view_prompts.front_half_width_deg", 30.0, toy)
    assert validate(wider, Recipe).text_keys == ["guidance"]
    negative = changed("refine.phases.0.guidance.negative_prompt", "blurry", toy)
    assert validate(negative, Recipe).text_keys == ["guidance", one]


def test_a_step_of_all_is_a_step_of_a_phase() -> None:
    refine = load_recipe(RECIPES / "prolificdreamer.yaml").refine
    assert refine is not None
    assert refine.num_steps == 45_000
    assert [refine.phase_at(step) for step in (0, 14_999, 15_000, 44_999)] == [
        (0, 0),
        (0, 14_999),
        (1, 0),
        (1, 29_999),
    ]
    with pytest.raises(ValueError, match="found a step 0 beyond the last of 45000"):
        refine.phase_at(45_000)


def test_an_override_names_a_phase_by_its_number() -> None:
    suite = parse("overrides:\n  refine.phases.1.optimize.num_steps: 7\n", "params.yaml")
    found = validate(with_overrides(document(data()), suite, ("overrides",)), Recipe)
    assert found.refine is not None
    assert [phase.optimize.num_steps for phase in found.refine.phases] == [15_000, 7]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("refine.phases.2.learns", "unknown item: refine.phases has 2, numbered from 0"),
        ("refine.phases.first.learns", "unknown item: refine.phases has 2, numbered from 0"),
        ("refine.phases.-1.learns", "unknown item: refine.phases has 2, numbered from 0"),
        ("refine.phases.00.learns", "unknown item: refine.phases has 2, numbered from 0"),
        (
            "refine.phases.1.lerns",
            "unknown key of the recipe (did you mean refine.phases.1.learns?)",
        ),
    ],
)
def test_an_override_of_no_phase_is_refused(key: str, message: str) -> None:
    suite = parse(f"overrides:\n  {key}: texture\n", "params.yaml")
    with pytest.raises(RecipeError) as caught:
        with_overrides(document(data()), suite, ("overrides",))
    assert str(caught.value) == f"params.yaml:2: overrides.{key}: {message}"


def test_a_wrong_value_of_an_overridden_phase_names_the_line_of_the_override() -> None:
    suite = parse("overrides:\n  refine.phases.1.optimize.num_steps: 0\n", "params.yaml")
    with pytest.raises(RecipeError, match=r"^params\.yaml:2: overrides\.refine\.phases\[1\]"):
        validate(with_overrides(document(data()), suite, ("overrides",)), Recipe)
