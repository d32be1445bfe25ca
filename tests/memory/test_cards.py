"""Advice for cards of 12, 16 and 24 GB."""

import dataclasses
from pathlib import Path

import pytest

from dreamfusion_kit.memory import prior_steps
from dreamfusion_kit.memory.architectures import (
    QWEN_IMAGE,
    STABLE_DIFFUSION_1,
    STABLE_DIFFUSION_2,
    Components,
)
from dreamfusion_kit.memory.cards import advice_for_cards
from dreamfusion_kit.memory.estimate import Counted
from dreamfusion_kit.memory.field import FieldMemory
from dreamfusion_kit.memory.prior import PriorMemory
from dreamfusion_kit.memory.prior_steps import PriorSteps
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.schema import LatentUnetSection, Recipe

RECIPES = Path(__file__).parents[2] / "recipes"
NO_FIELD = FieldMemory(*[0] * len(dataclasses.fields(FieldMemory)))


def advised(recipe: Recipe, parts: Components) -> list[str]:
    """Return the advice for a recipe whose field takes nothing."""
    priors = PriorSteps(parts)
    return advice_for_cards(recipe, Counted(priors.first(recipe), NO_FIELD, ()), priors)


def test_a_small_model_fits_as_it_is() -> None:
    lines = advised(load_recipe(RECIPES / "sd15.yaml"), STABLE_DIFFUSION_1)
    assert lines == [f"on a card of {size} GB: as it is" for size in (12, 16, 24)]


def test_a_large_model_needs_its_blocks_moved() -> None:
    lines = advised(load_recipe(RECIPES / "qwen-image.yaml"), QWEN_IMAGE)
    # 38 GiB of weights fit none of these cards, even alone.
    for line in lines:
        assert "prior.cpu_offload group" in line


@pytest.mark.parametrize("name", ["toybox", "analytic"])
def test_priors_without_these_keys_get_no_advice(name: str) -> None:
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    assert advice_for_cards(recipe, Counted(PriorMemory(), NO_FIELD, ()), PriorSteps({})) == []


GB = 10**9


@pytest.mark.parametrize(
    ("weights_gb", "predicting_gb", "expected"),
    [
        # Each with a VAE of 2 GB, of which half is left in bfloat16, beside a small field.
        (8, 1, ("prior.vae_dtype bfloat16", "as it is", "as it is")),
        (8, 2, ("prior.cpu_offload group", "as it is", "as it is")),
        (11, 2, ("prior.cpu_offload group", "prior.vae_dtype bfloat16", "as it is")),
        (40, 2, ("prior.cpu_offload group",) * 3),
        (40, 13, ("prior.image_size_px 256", "prior.image_size_px 256", "prior.cpu_offload group")),
        (40, 100, ("not by keys of prior alone: ",) * 3),
    ],
)
def test_the_smallest_sacrifice_that_fits_each_card_is_named(
    weights_gb: float,
    predicting_gb: float,
    expected: tuple[str, str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def counted(prior: LatentUnetSection, *_: object, **__: object) -> PriorMemory:
        stored = weights_gb / (1 if prior.storage_dtype is None else 2)
        quarter = 4 if prior.image_size_px == 256 else 1
        vae = 2 if prior.vae_dtype == "float32" else 1
        return PriorMemory(
            denoiser=int(stored * GB),
            moved=int(stored * GB / 20),
            predicting=int(predicting_gb * GB / quarter),
            encoder=vae * GB,
        )

    monkeypatch.setattr(prior_steps, "prior_memory", counted)
    lines = advised(load_recipe(RECIPES / "sdxl.yaml"), {})
    assert [line.partition(": ")[0] for line in lines] == [
        f"on a card of {size} GB" for size in (12, 16, 24)
    ]
    for line, words in zip(lines, expected, strict=True):
        assert words in line
    if weights_gb == 40 and predicting_gb == 13:
        assert "storage_dtype float8_e4m3fn" in lines[0]  # all the smaller sacrifices as well


def test_vsd_is_not_advised_what_its_second_denoiser_cannot_share() -> None:
    recipe = load_recipe(RECIPES / "prolificdreamer.yaml").model_copy(update={"refine": None})
    large = dataclasses.replace(NO_FIELD, learning=int(9.5 * GB))
    nothing = dataclasses.replace(NO_FIELD, learning=100 * GB)
    priors = PriorSteps(STABLE_DIFFUSION_2)
    lines = [
        line
        for field in (large, nothing)
        for line in advice_for_cards(recipe, Counted(priors.first(recipe), field, ()), priors)
    ]
    # In 10.8 GB, the denoiser's 1.7 and phi's beside the field's 9.5 do not fit at once.
    assert lines
    assert not any("group" in line or "float8" in line for line in lines)
    assert lines[-1].startswith("on a card of 24 GB: not by keys of prior alone: ")
    assert lines[-1].endswith(" while the field learns")
