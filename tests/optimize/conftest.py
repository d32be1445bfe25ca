"""Sections of a small recipe, to vary; a short recipe, and what it gives when nothing stops it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dreamfusion_kit.optimize.checkpoint import Scratch, open_scratch
from dreamfusion_kit.optimize.loop import OptimizedModel
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.schema import OptimizeSection, PenaltiesSection, Recipe, WatchdogSection

from .loop_run import CHECKPOINT_EVERY, NUM_STEPS, ROOT, changed, run

WATCHDOG = {"check_every_steps": 5, "after_step": 10, "min_opacity": 0.01, "max_opacity": 0.9}
PENALTIES = {
    "opacity_lambda": 0.0,
    "orientation_lambda": 0.0,
    "entropy_lambda": 0.0,
    "distortion_lambda": 0.0,
    "smoothness_lambda": 0.0,
}
SHAMPOO = {
    "kind": "distributed_shampoo",
    "betas": (0.9, 0.9),
    "exponent_override": 2,
    "block_size": 128,
    "graft": "sqrt_n",
    "epsilon": 1e-6,
    "start_step": 2,
    "preconditioner_every_steps": 1,
    "nesterov": False,
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


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    """Return the shipped analytic recipe, made shorter, every branch of the loop kept."""
    shipped = load_recipe(ROOT / "recipes" / "analytic.yaml")
    return changed(
        shipped,
        optimize={
            "num_steps": NUM_STEPS,
            "batch_size": 2,
            "checkpoint_every_steps": CHECKPOINT_EVERY,
            "preview_every_steps": 10,
            "max_gradient_norm": 100.0,
        },
    )


@pytest.fixture(scope="session")
def uninterrupted(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> OptimizedModel:
    with open_scratch(tmp_path_factory.mktemp("whole"), "0" * 64) as scratch:
        return run(recipe, scratch)
