"""What the pipeline's stages make of the recipes that the API is given."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dreamfusion_kit.api.recipe import load_recipe
from dreamfusion_kit.recipe.schema import Recipe
from dreamfusion_kit.stages import embed, fetch, mesh, optimize
from dreamfusion_kit.stages.layout import AssetLayout, SuiteLayout
from dreamfusion_kit.workspace import edit, shipped

DATA = Path(__file__).parents[1] / "recipe" / "data" / "workspace"
PROMPT, SEED = "a red ball", 3
CPU = torch.device("cpu")


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    """Return the analytic recipe, which has no files, with a few steps."""
    return load_recipe("analytic", {"optimize.num_steps": 5})


@pytest.fixture(scope="session")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], AssetLayout]:
    """Return what runs the stages on a shipped recipe."""

    def run(name: str) -> AssetLayout:
        workspace = shutil.copytree(DATA, tmp_path_factory.mktemp("staged") / "workspace")
        shutil.copy(shipped.recipes() / f"{name}.yaml", workspace / "recipes" / f"{name}.yaml")
        fetch.run(workspace, "default", name)
        edit.add(workspace, "default", "ball", prompt=PROMPT, recipe=name, seed=SEED)
        for stage in (embed, optimize, mesh):
            stage.run(workspace, "default", "ball", CPU)
        return SuiteLayout(workspace, "default").asset("ball")

    return run
