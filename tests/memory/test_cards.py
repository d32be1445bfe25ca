"""Advice for cards of 12, 16 and 24 GB."""

from pathlib import Path

import pytest

from dreamfusion_kit.memory.architectures import QWEN_IMAGE, STABLE_DIFFUSION_1
from dreamfusion_kit.memory.cards import advice_for_cards
from dreamfusion_kit.recipe.load import load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"


def test_a_small_model_fits_as_it_is() -> None:
    lines = advice_for_cards(load_recipe(RECIPES / "sd15.yaml"), STABLE_DIFFUSION_1)
    assert lines == [f"on a card of {size} GB: as it is" for size in (12, 16, 24)]


def test_a_large_model_needs_its_blocks_moved() -> None:
    lines = advice_for_cards(load_recipe(RECIPES / "qwen-image.yaml"), QWEN_IMAGE)
    # 38 GiB of weights fit none of these cards, even alone.
    for line in lines:
        assert "prior.cpu_offload group" in line


@pytest.mark.parametrize("name", ["toybox", "analytic"])
def test_priors_without_these_keys_get_no_advice(name: str) -> None:
    assert advice_for_cards(load_recipe(RECIPES / f"{name}.yaml"), {}) == []
