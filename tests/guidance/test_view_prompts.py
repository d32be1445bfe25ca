"""View words: which camera gets which, and the texts they make."""

from collections.abc import Callable

import pytest
import torch

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.guidance.view_prompts import (
    guidance_prompts,
    prompts_for,
    row_of,
    rows_for_views,
    view_name,
)
from dreamfusion_kit.recipe.schema import SdsGuidance, ViewPrompts


@pytest.mark.parametrize(
    ("azimuth_deg", "expected"),
    [
        (0, "front"),
        (45, "front"),
        (45.1, "side"),
        (-45, "front"),
        (-45.1, "side"),
        (90, "side"),
        (149.9, "side"),
        (150, "back"),
        (180, "back"),
        (-180, "back"),
        (210, "back"),
        (210.1, "side"),
        (315, "front"),
        (359, "front"),
        (360 + 90, "side"),
        (-720, "front"),
    ],
)
def test_quadrants(
    view_prompts: Callable[..., ViewPrompts], azimuth_deg: float, expected: str
) -> None:
    assert view_name(float(azimuth_deg), 10.0, view_prompts()) == expected


@pytest.mark.parametrize(("elevation_deg", "expected"), [(60, "front"), (60.01, "overhead")])
def test_overhead_begins_strictly_above(
    view_prompts: Callable[..., ViewPrompts], elevation_deg: float, expected: str
) -> None:
    assert view_name(0.0, float(elevation_deg), view_prompts()) == expected


def test_texts(view_prompts: Callable[..., ViewPrompts]) -> None:
    assert prompts_for("a red mug", view_prompts()) == {
        "front": "a red mug, front view",
        "side": "a red mug, side view",
        "back": "a red mug, back view",
        "overhead": "a red mug, overhead view",
    }
    assert set(prompts_for("a red mug", view_prompts(enabled=False)).values()) == {"a red mug"}


def test_rows_follow_the_cameras(guidance: Callable[..., SdsGuidance]) -> None:
    section = guidance(negative_prompt="fog")
    prompts = guidance_prompts("a red mug", section)
    azimuth_deg, elevation_deg = torch.tensor([0.0, 90, 180, 0]), torch.tensor([0.0, 0, 0, 80])
    rows = rows_for_views(azimuth_deg, elevation_deg, section.view_prompts, prompts)
    assert [list(prompts.values())[row] for row in rows] == [
        "a red mug, front view",
        "a red mug, side view",
        "a red mug, back view",
        "a red mug, overhead view",
    ]
    assert list(prompts.values())[row_of("negative", list(prompts))] == "fog"


def test_features_of_other_prompts_are_refused() -> None:
    with pytest.raises(WeightsError, match="no row for 'side' among front, negative"):
        row_of("side", ["front", "negative"])
