"""What the pipeline's stages make of the recipes that the API is given."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dreamfusion_kit.api.recipe import load_recipe
from dreamfusion_kit.recipe.schema import Recipe
from dreamfusion_kit.stages import embed, fetch, mesh, optimize, refine
from dreamfusion_kit.stages.layout import AssetLayout, SuiteLayout
from dreamfusion_kit.workspace import edit, shipped
from dreamfusion_kit.workspace.init import init

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


@pytest.fixture(scope="session")
def staged_refined(tmp_path_factory: pytest.TempPathFactory) -> tuple[AssetLayout, Recipe]:
    """Return what the stages make of a recipe that refines in three steps, and the recipe."""
    data = load_recipe("analytic", {"optimize.num_steps": 5}).model_dump(mode="json")
    section = load_recipe("magic3d-toybox").model_dump(mode="json")["refine"]
    (phase,) = section["phases"]
    phase["guidance"] |= {key: data["guidance"][key] for key in ("view_prompts", "negative_prompt")}
    phase["camera"]["image_size_px"] = 16
    section["representation"]["resolution"] = section["texture"]["resolution"] = 12
    phase["optimize"] |= {"num_steps": 3, "checkpoint_every_steps": 2, "preview_every_steps": 3}
    phase["optimize"]["learning_rate_decay"]["warmup_steps"] = 1
    workspace = tmp_path_factory.mktemp("refined") / "workspace"
    init(workspace, "analytic")
    path = workspace / "recipes" / "refined.yaml"
    path.write_text(json.dumps(data | {"refine": section}))
    fetch.run(workspace, "default", "refined")
    edit.add(workspace, "default", "ball", prompt=PROMPT, recipe="refined", seed=SEED)
    for stage in (embed, optimize, mesh, refine):
        stage.run(workspace, "default", "ball", CPU)
    return SuiteLayout(workspace, "default").asset("ball"), load_recipe(path)
