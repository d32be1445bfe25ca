"""A guidance section to vary."""

from collections.abc import Callable
from typing import Any

import pytest

from dreamfusion_kit.recipe.schema import SdsGuidance, ViewPrompts

VIEW_PROMPTS = {
    "enabled": True,
    "combine": "nearest",
    "front": "front view",
    "side": "side view",
    "back": "back view",
    "overhead": "overhead view",
    "overhead_above_deg": 60.0,
    "front_half_width_deg": 45.0,
    "back_half_width_deg": 30.0,
}
GUIDANCE = {
    "kind": "sds",
    "guidance_scale": 101.0,
    "timestep_weight": "sigma_squared",
    "timestep_min": 0.02,
    "timestep_max": 0.98,
    "negative_prompt": "",
    "view_prompts": VIEW_PROMPTS,
}


@pytest.fixture
def view_prompts() -> Callable[..., ViewPrompts]:
    def make(**changes: Any) -> ViewPrompts:
        return ViewPrompts.model_validate(VIEW_PROMPTS | changes)

    return make


@pytest.fixture
def guidance() -> Callable[..., SdsGuidance]:
    def make(**changes: Any) -> SdsGuidance:
        return SdsGuidance.model_validate(GUIDANCE | changes)

    return make
