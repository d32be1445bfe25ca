"""An asset that cannot fit is refused by its own recipe, overrides included."""

from pathlib import Path

import pytest
import torch

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.memory import advice
from dreamfusion_kit.memory.device import Device
from dreamfusion_kit.recipe.suite_schema import ASSET_FILE
from dreamfusion_kit.recipe.workspace import SUITE_FILE, suite_root
from dreamfusion_kit.stages import memory

GIB = 2**30
SUITE = "suite: big\nseeds: null\noverrides: {}\nevaluation: null\n"
ASSET = "prompt: a red ball\nrecipe: analytic\nseed: 0\noverrides: "
ASSETS = {"small": "{}", "huge": "{renderer.num_samples: 16384}"}


def test_an_override_beyond_memory_is_refused_before_the_run(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Device("main memory", False, GIB, GIB // 2, libraries_bytes=0)
    monkeypatch.setattr(advice, "describe_device", lambda _: machine)
    root = suite_root(workspace, "big")
    for asset, overrides in ASSETS.items():
        (root / "assets" / asset).mkdir(parents=True)
        (root / "assets" / asset / ASSET_FILE).write_text(f"{ASSET}{overrides}\n")
    (root / SUITE_FILE).write_text(SUITE)
    memory.check(workspace, "big", "small", torch.device("cpu"))
    with pytest.raises(RecipeError, match=r"^the optimisation needs about .*renderer.num_samples"):
        memory.check(workspace, "big", "huge", torch.device("cpu"))
