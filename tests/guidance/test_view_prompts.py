"""View words: which camera gets which, and the texts they make."""

from collections.abc import Callable
from typing import Any

import pytest

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.guidance.view_prompts import (
    guidance_prompts,
    nearest_view,
    prompts_for,
    row_of,
    view_weights,
)
from dreamfusion_kit.recipe.schema import ClipGuidanceSection, ViewPromptsSection


@pytest.mark.parametrize(
    ("azimuth_deg", "expected"),
    [
        (0, "front"),
        (45, "front"),
        (45.1, "left"),
        (-45, "front"),
        (-45.1, "right"),
        (90, "left"),
        (149.9, "left"),
        (150, "back"),
        (180, "back"),
        (-180, "back"),
        (210, "back"),
        (210.1, "right"),
        (315, "front"),
        (359, "front"),
        (360 + 90, "left"),
        (-90 - 720, "right"),
        (-720, "front"),
    ],
)
def test_quadrants(
    view_prompts: Callable[..., ViewPromptsSection], azimuth_deg: float, expected: str
) -> None:
    assert nearest_view(float(azimuth_deg), 10.0, view_prompts()) == expected


@pytest.mark.parametrize(("elevation_deg", "expected"), [(60, "front"), (60.01, "overhead")])
def test_overhead_begins_strictly_above(
    view_prompts: Callable[..., ViewPromptsSection], elevation_deg: float, expected: str
) -> None:
    assert nearest_view(0.0, float(elevation_deg), view_prompts()) == expected


def test_texts(view_prompts: Callable[..., ViewPromptsSection]) -> None:
    assert prompts_for("a red mug", view_prompts()) == {
        "front": "a red mug, front view",
        "left": "a red mug, left side view",
        "right": "a red mug, right side view",
        "back": "a red mug, back view",
        "overhead": "a red mug, overhead view",
    }
    assert set(prompts_for("a red mug", view_prompts(enabled=False)).values()) == {"a red mug"}


def test_texts_by_guidance(guidance: Callable[..., Any]) -> None:
    views = ["front", "left", "right", "back", "overhead"]
    sds = guidance_prompts("a red mug", guidance(negative_prompt="fog"))
    assert list(sds) == [*views, "negative"]
    assert sds["negative"] == "fog"
    csd = guidance_prompts("a red mug", guidance("csd", negative_prompt="fog"))
    assert list(csd) == [*views, "negative", "unconditional"]
    assert csd["unconditional"] == ""
    clip = ClipGuidanceSection(
        kind="clip",
        transmittance_lambda=0.5,
        opacity_target=0.1,
        view_prompts=guidance().view_prompts,
    )
    assert list(guidance_prompts("a red mug", clip)) == views


@pytest.mark.parametrize(
    ("azimuth_deg", "elevation_deg", "expected"),
    [
        (0, 0, (1, 0, 0, 0, 0)),
        (45, 60, (0.5, 0.5, 0, 0, 0)),
        (-45, 0, (0.5, 0, 0.5, 0, 0)),
        (90, 0, (0, 1, 0, 0, 0)),
        (270, 0, (0, 0, 1, 0, 0)),
        (126, 0, (0, 0.6, 0, 0.4, 0)),
        (180, 0, (0, 0, 0, 1, 0)),
        (720 - 162, 0, (0, 0, 0.2, 0.8, 0)),
        (45, 60.01, (0, 0, 0, 0, 1)),
    ],
)
def test_weights_of_front_sides_back_and_overhead(
    view_prompts: Callable[..., ViewPromptsSection],
    azimuth_deg: float,
    elevation_deg: float,
    expected: tuple[float, ...],
) -> None:
    found = view_weights(float(azimuth_deg), float(elevation_deg), view_prompts())
    assert found == pytest.approx(expected)


def test_features_of_other_prompts_are_refused() -> None:
    with pytest.raises(WeightsError, match="no row for 'left' among front, negative"):
        row_of("left", ["front", "negative"])
