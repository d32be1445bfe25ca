"""The checks between the sections of a recipe."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.schema import Recipe

ROOT = Path(__file__).parents[3]


def _adapt(value: object) -> Recipe:
    return Recipe.model_validate_json(json.dumps(value))


@pytest.mark.parametrize(("guidance", "prior"), [("clip", "toybox"), ("toybox", "clip")])
def test_clip_goes_with_clip(guidance: str, prior: str) -> None:
    recipes = {
        "toybox": load_recipe(ROOT / "recipes" / "toybox.yaml").model_dump(mode="json"),
        "clip": load_recipe(ROOT / "recipes" / "toybox-clip.yaml").model_dump(mode="json"),
    }
    mixed = recipes["toybox"] | {
        "guidance": recipes[guidance]["guidance"],
        "prior": recipes[prior]["prior"],
    }
    with pytest.raises(ValidationError, match="expected clip with clip"):
        _adapt(mixed)


@pytest.mark.parametrize(
    ("recipe", "name", "expected"),
    [
        ("toybox", "latent", "latent_unet or multi_view_unet"),
        ("toybox", "clip", "clip"),
        ("toybox-latent", "prior", "pixel_unet or multi_view_unet"),
        ("toybox-clip", "prior", "pixel_unet or multi_view_unet"),
        ("sd35", "latent", "latent_unet or multi_view_unet"),
    ],
)
def test_a_bundled_model_is_of_the_kind_that_reads_it(
    recipe: str, name: str, expected: str
) -> None:
    data = load_recipe(ROOT / "recipes" / f"{recipe}.yaml").model_dump(mode="json")
    data["prior"]["source"] = {"kind": "bundled", "name": name}
    with pytest.raises(ValidationError, match=f"bundled model {name} .*, expected kind {expected}"):
        _adapt(data)


@pytest.mark.parametrize("key", ["cpu_offload", "storage_dtype"])
def test_vsd_s_second_denoiser_shares_plain_weights(key: str) -> None:
    recipe = load_recipe(ROOT / "recipes" / "prolificdreamer.yaml")
    data = recipe.model_dump(mode="json")
    data["prior"][key] = {"cpu_offload": "group", "storage_dtype": "float8_e4m3fn"}[key]
    with pytest.raises(ValidationError, match="second denoiser shares the weights"):
        Recipe.model_validate_json(json.dumps(data))


# ---- views that are denoised together


def _with_views(**changes: Any) -> dict[str, Any]:
    """Return mvdream's recipe with values under dotted keys."""
    data = load_recipe(ROOT / "recipes" / "mvdream.yaml").model_dump(mode="json")
    for key, value in changes.items():
        node: Any = data
        *parents, last = key.split("__")
        for parent in parents:
            node = node[parent]
        node[last] = value
    return data


VIEWS = {"count": 4, "radius_follows_focal": False}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"camera__object_views": None}, "camera that draws views one by one"),
        ({"camera__object_views": VIEWS | {"count": 2}}, "views in groups of 2"),
        ({"optimize__batch_size": 6}, "optimize.batch_size 6 with camera.object_views.count 4"),
        ({"prior__num_views": 8}, "denoises 8 views of one object together"),
    ],
)
def test_a_multi_view_prior_gets_whole_groups_of_its_views(
    changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        TypeAdapter(Recipe).validate_python(_with_views(**changes), strict=False)


@pytest.mark.parametrize(
    "source", [{"kind": "bundled", "name": "prior"}, {"kind": "local", "path": "models/mine"}]
)
def test_bundled_view_weights_are_for_the_prior_that_they_were_trained_from(
    source: dict[str, str],
) -> None:
    data = load_recipe(ROOT / "recipes" / "toybox-multiview.yaml").model_dump(mode="json")
    data["prior"]["source"] = source
    with pytest.raises(ValidationError, match=r"expected the bundled latent prior"):
        TypeAdapter(Recipe).validate_python(data, strict=False)


def test_the_second_stage_s_views_are_checked_too() -> None:
    refined = load_recipe(ROOT / "recipes" / "magic3d.yaml").model_dump(mode="json")["refine"]
    data = _with_views(refine=refined)
    refined["prior"] = None
    (phase,) = refined["phases"]
    texts = ("view_prompts", "negative_prompt")
    phase["guidance"] |= {key: data["guidance"][key] for key in texts}
    with pytest.raises(ValidationError, match=r"phases\[0\]\.camera that draws views one by one"):
        TypeAdapter(Recipe).validate_python(data, strict=False)
    phase["camera"]["object_views"] = VIEWS
    with pytest.raises(ValidationError, match=r"batch_size 1 with refine\.phases\[0\]\.camera"):
        TypeAdapter(Recipe).validate_python(data, strict=False)
    phase["optimize"]["batch_size"] = 4
    assert TypeAdapter(Recipe).validate_python(data, strict=False).refine is not None


def test_groups_of_views_serve_other_priors_too() -> None:
    data = load_recipe(ROOT / "recipes" / "toybox.yaml").model_dump(mode="json")
    data["camera"]["object_views"] = VIEWS
    with pytest.raises(ValidationError, match="expected a multiple of 4"):
        TypeAdapter(Recipe).validate_python(data, strict=False)
    data["optimize"]["batch_size"] = 4
    assert TypeAdapter(Recipe).validate_python(data, strict=False).camera.object_views


def test_a_camera_without_groups_is_written_as_before() -> None:
    camera = load_recipe(ROOT / "recipes" / "toybox.yaml").camera
    assert "object_views" not in camera.model_dump(mode="json")
