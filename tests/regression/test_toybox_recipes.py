"""Every recipe on the toybox's own models, for a few steps: what guides them, step by step.

Regenerate with `python -m pytest -m regression --force-regen`, and say in the CHANGELOG's "Results"
what moved the numbers.
"""

import numpy as np
import pytest
from pytest_regressions.num_regression import NumericRegressionFixture

from dreamfusion_kit import load_recipe, make_asset
from dreamfusion_kit.api.recipe import shipped_recipes
from dreamfusion_kit.recipe.schema import Recipe

pytestmark = pytest.mark.regression

RECIPES = [name for name in shipped_recipes() if "toybox" in name]
NUM_STEPS = 4


def shortened(name: str) -> Recipe:
    """Return the recipe with a few steps per optimisation and a coarse mesh."""
    recipe = load_recipe(
        name,
        {
            "optimize.num_steps": NUM_STEPS,
            "optimize.learning_rate_decay.warmup_steps": 0,
            "mesh.grid_resolution": 32,
            "mesh.max_faces": 1000,
            "mesh.texture_size_px": 64,
        },
    )
    if recipe.refine is None:
        return recipe
    steps = {
        "num_steps": NUM_STEPS,
        "learning_rate_decay": recipe.optimize.learning_rate_decay,
    }
    phases = tuple(
        phase.model_copy(update={"optimize": phase.optimize.model_copy(update=steps)})
        for phase in recipe.refine.phases
    )
    return recipe.model_copy(update={"refine": recipe.refine.model_copy(update={"phases": phases})})


@pytest.mark.parametrize("name", RECIPES)
def test_it_runs_as_before(name: str, num_regression: NumericRegressionFixture) -> None:
    asset = make_asset("a red ball", shortened(name), progress=False)
    found = {
        "guidance_norm": np.array([step.guidance_norm for step in asset.history]),
        "opacity": np.array([step.opacity for step in asset.history]),
    }
    # Kernels differ between processors in the last bits, and every step adds to that.
    num_regression.check(found, default_tolerance={"atol": 1e-6, "rtol": 0.02})
    assert len(asset.mesh.surface.faces) > 0
