"""A workspace with the suite `trio`, and what evaluated assets leave in it."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from dreamfusion_kit.stages import embed, fetch, optimize
from dreamfusion_kit.stages.layout import SuiteLayout
from dreamfusion_kit.workspace import edit as suite_edit

DATA = Path(__file__).parents[1] / "recipe" / "data" / "workspace"
SUITE = "trio"
ASSETS = ("red_ball", "green_cube", "cyan_cone")


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Return a fresh copy of the tests' recipes and suites."""
    return shutil.copytree(DATA, tmp_path / "workspace")


@pytest.fixture
def evaluated(workspace: Path) -> Path:
    """Return a workspace whose three assets took 4, 6 and 8 seconds; half of the views hit."""
    layout = SuiteLayout(workspace, SUITE)
    for index, asset in enumerate(ASSETS):
        own = layout.asset(asset)
        _write(own.evaluation / "metrics.json", _metrics(asset))
        _write(own.cost("optimize"), _cost(3 + index, 500 + index))
        _write(own.cost("mesh"), _cost(1 + index, 400))
    return workspace


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a workspace with two assets of three steps, up to their meshes."""
    workspace = shutil.copytree(DATA, tmp_path_factory.mktemp("made") / "workspace")
    recipe = workspace / "recipes" / "analytic.yaml"
    text = recipe.read_text()
    recipe.write_text(re.sub(r"num_steps: \d+", "num_steps: 3", text))
    fetch.run(workspace, "default", "analytic")
    for asset, prompt in (("mug", "a red mug"), ("cone", "a red cone")):
        suite_edit.add(workspace, "default", asset, prompt=prompt, recipe="analytic", seed=0)
        for stage in (embed, optimize):
            stage.run(workspace, "default", asset, torch.device("cpu"))
    return workspace


def _cost(seconds: float, peak_memory_bytes: int) -> dict[str, object]:
    return {"seconds": seconds, "peak_memory_bytes": peak_memory_bytes, "commit": None}


def _metrics(asset: str) -> dict[str, object]:
    halves = {"color": 0.5, "geometry": 0.25, "ceiling": 1.0, "ceiling_geometry": 0.75}
    return {
        "asset": asset,
        "prompt": f"a {asset.replace('_', ' ')}",
        "held_out": False,
        "num_views": 4,
        "num_captions": 144,
        "r_precision": halves,
        "object_precision": halves,
        "object_chance": 0.0625,
        "clip_score": halves,
        "retrieved": ["a red ball"] * 4,
        "geometry": {
            "chamfer": 0.02,
            "chamfer_raw": 0.04,
            "f_score": 0.9,
            "f_score_raw": 0.7,
            "iou": 0.8,
            "iou_raw": 0.6,
            "yaw_deg": 0.0,
            "scale": 1.0,
            "watertight": True,
        },
        "janus": None,
        "mesh": {"watertight": asset != "green_cube", "components": 2},
    }


def _write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
