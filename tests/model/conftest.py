"""Small sections and recipes, made from the shipped ones."""

from pathlib import Path
from typing import Any

import pytest

from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.schema import (
    HashGridSection,
    MipMlpSection,
    Recipe,
    VoxelGridSection,
)

RECIPES = Path(__file__).parents[2] / "recipes"
MLP_BACKGROUND: dict[str, Any] = {
    "kind": "mlp",
    "num_frequencies": 2,
    "hidden_width": 4,
    "num_hidden_layers": 1,
    "learning_rate": 0.01,
}


@pytest.fixture(scope="session")
def voxel_section() -> VoxelGridSection:
    section = load_recipe(RECIPES / "toybox.yaml").field
    assert isinstance(section, VoxelGridSection)
    return section.model_copy(update={"resolution": 9})


@pytest.fixture(scope="session")
def hash_section() -> HashGridSection:
    section = load_recipe(RECIPES / "toybox-hash.yaml").field
    assert isinstance(section, HashGridSection)
    small = {"num_levels": 3, "log2_table_size": 8, "initial_levels": 2, "backend": "torch"}
    return section.model_copy(update=small)


@pytest.fixture(scope="session")
def mip_section() -> MipMlpSection:
    section = load_recipe(RECIPES / "dreamfusion-toybox.yaml").field
    assert isinstance(section, MipMlpSection)
    return section.model_copy(update={"num_blocks": 1, "hidden_width": 8, "num_frequencies": 4})


@pytest.fixture(scope="session")
def plain() -> Recipe:
    """Return a grid before drawn backgrounds, without a proposal network."""
    data = load_recipe(RECIPES / "toybox.yaml").model_dump(mode="python")
    data["field"]["resolution"] = 12
    data["renderer"]["num_samples"] = 16
    data["renderer"]["occupancy"] |= {"resolution": 8, "warmup_steps": 4, "update_every_steps": 2}
    return Recipe.model_validate(data)


@pytest.fixture(scope="session")
def scene() -> Recipe:
    """Return a network with a proposal network before a learned background."""
    data = load_recipe(RECIPES / "mip-nerf-360-scene.yaml").model_dump(mode="python")
    data["field"] |= {"num_blocks": 1, "hidden_width": 8, "num_frequencies": 4}
    data["background"] = MLP_BACKGROUND
    data["renderer"] |= {"num_samples": 8}
    data["renderer"]["beyond"]["num_samples"] = 4
    data["renderer"]["beyond"]["proposal"] |= {
        "num_blocks": 1,
        "hidden_width": 4,
        "num_samples": 6,
    }
    data["renderer"]["occupancy"] |= {"resolution": 8}
    return Recipe.model_validate(data)
