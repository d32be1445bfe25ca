"""A workspace with the suite `trio`, and what evaluated assets leave in it."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from dreamfusion_kit.evaluation.entry import AssetEntry, InputsEntry
from dreamfusion_kit.evaluation.metrics import METRICS
from dreamfusion_kit.recipe.suite import Suite, load_suite
from dreamfusion_kit.stages import embed, fetch, judging, optimize
from dreamfusion_kit.stages.layout import SuiteLayout
from dreamfusion_kit.workspace import edit as suite_edit

DATA = Path(__file__).parents[1] / "recipe" / "data" / "workspace"
SUITE = "trio"
ASSETS = ("cyan_cone", "green_cube", "red_ball")  # a suite of folders is sorted by their names
FACTS = {
    "grid_resolution": 64, "density_threshold": 0.1, "density_max": 9.5, "occupied_fraction": 0.2,
    "filled_cavity_fraction": 0.0, "vertices": 9, "faces": 14, "components": 1,
    "dropped_components": 0, "watertight": True, "euler_number": 2, "area": 1.5, "volume": 0.25,
    "texture_size_px": 64, "texture_charts": 3,
}  # fmt: skip


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Return a fresh copy of the tests' recipes and suites."""
    return shutil.copytree(DATA, tmp_path / "workspace")


@pytest.fixture
def evaluated(workspace: Path) -> Path:
    """Return a workspace whose three assets took 4, 6 and 8 seconds; half of the views hit."""
    suite = load_suite(workspace, SUITE)
    for index, asset in enumerate(ASSETS):
        own = SuiteLayout(workspace, SUITE).asset(asset)
        write(own.evaluation / "metrics.json", entry_of(asset, suite, workspace))
        write(own.cost("optimize"), _cost(3.0 + index, 500 + index))
        write(own.cost("mesh"), _cost(1.0 + index, 400))
    return workspace


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a workspace with the fields of two assets, of three steps each."""
    workspace = shutil.copytree(DATA, tmp_path_factory.mktemp("made") / "workspace")
    recipe = workspace / "recipes" / "analytic.yaml"
    recipe.write_text(re.sub(r"num_steps: \d+", "num_steps: 3", recipe.read_text()))
    fetch.run(workspace, "default", "analytic")
    for asset, prompt in (("mug", "a red mug"), ("cone", "a red cone")):
        suite_edit.add(workspace, "default", asset, prompt=prompt, recipe="analytic", seed=0)
        for stage in (embed, optimize):
            stage.run(workspace, "default", asset, torch.device("cpu"))
    return workspace


def _cost(seconds: float, peak_memory_bytes: int) -> dict[str, object]:
    return {"seconds": seconds, "peak_memory_bytes": peak_memory_bytes, "commit": None}


def entry_of(asset: str, suite: Suite, workspace: Path) -> dict[str, object]:
    """Return the metrics.json of an asset whose every share is one half, whatever is measured."""
    named = judging.entries_of(suite, workspace)
    halves = {metric.key: 0.5 for metric in METRICS if metric.measure is not None}
    no_fronts = dict.fromkeys(("front_views", "true_front_views"), None)
    entry = AssetEntry(
        format_version=2,
        asset=asset,
        prompt=suite.assets[asset].prompt,
        held_out=False,
        num_views=4,
        judge=named.judge,
        caption_pool=named.pool,
        inputs=InputsEntry(field_sha256="ab" * 32, mesh_sha256="cd" * 32),
        metrics=halves | no_fronts | {"watertight": float(asset != "green_cube")},
        views=None,
        retrieved=("a red ball",) * 4,
        sides=None,
        alignment=None,
    )
    return entry.model_dump(mode="json")


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
