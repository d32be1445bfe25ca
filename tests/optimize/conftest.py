"""Sections of a small recipe, to vary."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dreamfusion_kit.optimize.checkpoint import Scratch, open_scratch
from dreamfusion_kit.recipe.schema import OptimizeSection, PenaltiesSection, WatchdogSection

WATCHDOG = {"check_every_steps": 5, "after_step": 10, "min_opacity": 0.01, "max_opacity": 0.9}
PENALTIES = {
    "opacity_lambda": 0.0,
    "orientation_lambda": 0.0,
    "entropy_lambda": 0.0,
    "distortion_lambda": 0.0,
    "smoothness_lambda": 0.0,
}
OPTIMIZE = {
    "num_steps": 100,
    "batch_size": 1,
    "optimizer": {"kind": "adam", "betas": (0.9, 0.99), "epsilon": 1e-8},
    "learning_rate_decay": {
        "warmup_steps": 2,
        "initial_fraction": 0.1,
        "kind": "cosine",
        "final_fraction": 0.1,
    },
    "max_gradient_norm": None,
    "penalties": PENALTIES,
    "checkpoint_every_steps": 10,
    "preview_every_steps": 10,
    "watchdog": WATCHDOG,
}


@pytest.fixture
def optimize_section() -> Callable[..., OptimizeSection]:
    def make(**changes: Any) -> OptimizeSection:
        return OptimizeSection.model_validate(OPTIMIZE | changes)

    return make


@pytest.fixture
def penalties() -> Callable[..., PenaltiesSection]:
    def make(**changes: Any) -> PenaltiesSection:
        return PenaltiesSection.model_validate(PENALTIES | changes)

    return make


@pytest.fixture
def watchdog_section() -> WatchdogSection:
    return WatchdogSection.model_validate(WATCHDOG)


@pytest.fixture
def make_scratch(tmp_path: Path) -> Callable[[str], Scratch]:
    """Return a function that makes a run's working directory."""

    def make(name: str) -> Scratch:
        with open_scratch(tmp_path / name, "0" * 64) as scratch:
            return scratch

    return make
