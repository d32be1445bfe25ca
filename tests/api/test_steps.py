"""The single steps give the same as the whole; a prior on a hub reports what is missing."""

from pathlib import Path

import pytest
import torch

from dreamfusion_kit.api.asset import make_asset
from dreamfusion_kit.api.recipe import load_recipe
from dreamfusion_kit.api.steps import load_prior, optimize_model
from dreamfusion_kit.errors import DreamFusionKitError, WeightsError
from dreamfusion_kit.guidance.embed import embed_prompt
from dreamfusion_kit.mesh.from_model import mesh_from_model
from dreamfusion_kit.recipe.schema import Recipe

PROMPT = "a red ball"


def test_the_steps_make_what_make_asset_makes(
    recipe: Recipe, capsys: pytest.CaptureFixture[str]
) -> None:
    prior = load_prior(recipe)
    text = embed_prompt(PROMPT, recipe, prior)
    result = optimize_model(recipe, text, prior, seed=2, progress=False)
    mesh = mesh_from_model(result.model, recipe)
    whole = make_asset(PROMPT, recipe, seed=2, progress=False)
    assert tuple(result.history) == whole.history
    assert (mesh.texture == whole.mesh.texture).all()
    assert (mesh.surface.vertices == whole.mesh.surface.vertices).all()
    assert not result.model.training
    assert capsys.readouterr() == ("", "")


def test_of_fields_that_take_turns_the_model_is_the_first(tmp_path: Path) -> None:
    recipe = load_recipe(
        "analytic",
        {
            "optimize.num_steps": 4,  # the turn after the last step is not the first's
            "field": {
                "kind": "particles",
                "count": 3,
                "particle": load_recipe("analytic").field.model_dump(mode="json"),
            },
        },
    )
    prior = load_prior(recipe)
    text = embed_prompt(PROMPT, recipe, prior)
    model = optimize_model(recipe, text, prior, progress=False).model
    model.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["field.safetensors"]


def test_a_prior_that_is_not_in_the_cache_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="run the fetch without --offline"):
        load_prior(load_recipe("sd15"), offline=True)


def test_the_bundled_prior_needs_no_network() -> None:
    prior = load_prior(load_recipe("toybox-smoke"))
    assert torch.isfinite(prior.encode_text(["a mug"]).tensors["hidden"]).all()


def test_devices_are_those_of_the_kit(recipe: Recipe) -> None:
    with pytest.raises(DreamFusionKitError, match=r"^device mps: expected cpu"):
        load_prior(recipe, "mps")
