"""Starts with a known surface, and a small refinement."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.schema import DmtetSection, FlexicubesSection, RefineSection
from dreamfusion_kit.records import Surface
from dreamfusion_kit.shape.start import Start

ROOT = Path(__file__).parents[2]


@pytest.fixture
def ball() -> Start:
    """Return a ball of radius 0.5 whose colour is its place."""
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=0.5)
    return Start(
        surface=Surface(
            torch.tensor(np.array(mesh.vertices), dtype=torch.float32),
            torch.tensor(np.array(mesh.faces)),
        ),
        distances=lambda positions: positions.norm(dim=-1) - 0.5,
        colors=lambda positions: 0.5 + 0.4 * positions,
        bounding_radius=0.9,
    )


@pytest.fixture
def section() -> RefineSection:
    """Return the toybox's refinement, small."""
    recipe = load_recipe(ROOT / "recipes" / "magic3d-toybox.yaml")
    assert recipe.refine is not None
    return recipe.refine.model_copy(
        update={
            "representation": dmtet(resolution=16),
            "texture": recipe.refine.texture.model_copy(
                update={"resolution": 16, "learning_rate": 0.1}
            ),
        }
    )


_LATTICE: dict[str, object] = {
    "resolution": 24,
    "num_levels": 3,
    "learning_rate": 0.01,
    "level_decay": 0.5,
    "offset_learning_rate": 0.0,
}


def dmtet(**changes: object) -> DmtetSection:
    return DmtetSection.model_validate({"kind": "dmtet", **_LATTICE, **changes})


def flexicubes(**changes: object) -> FlexicubesSection:
    keys: dict[str, object] = {
        "kind": "flexicubes",
        **_LATTICE,
        "weight_learning_rate": 0.01,
        "deviation_lambda": 0.1,
    }
    return FlexicubesSection.model_validate({**keys, **changes})


@pytest.fixture
def make_dmtet() -> Callable[..., DmtetSection]:
    """Return a maker of small representations."""
    return dmtet


@pytest.fixture
def make_flexicubes() -> Callable[..., FlexicubesSection]:
    """Return a maker of small representations."""
    return flexicubes
