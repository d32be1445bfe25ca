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
    text_for_views,
    view_name,
    view_weights,
)
from dreamfusion_kit.priors.text import TextFeatures
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


@pytest.mark.parametrize(
    ("azimuth_deg", "elevation_deg", "expected"),
    [
        (0, 0, (1, 0, 0, 0)),
        (45, 60, (0.5, 0.5, 0, 0)),
        (-45, 0, (0.5, 0.5, 0, 0)),
        (90, 0, (0, 1, 0, 0)),
        (270, 0, (0, 1, 0, 0)),
        (126, 0, (0, 0.6, 0.4, 0)),
        (180, 0, (0, 0, 1, 0)),
        (720 - 162, 0, (0, 0.2, 0.8, 0)),
        (45, 60.01, (0, 0, 0, 1)),
    ],
)
def test_weights_of_front_side_back_and_overhead(
    view_prompts: Callable[..., ViewPrompts],
    azimuth_deg: float,
    elevation_deg: float,
    expected: tuple[float, ...],
) -> None:
    found = view_weights(float(azimuth_deg), float(elevation_deg), view_prompts())
    assert found == pytest.approx(expected)


def _features() -> TextFeatures:
    """Return features of front, side, back, overhead and negative, with a mask of tokens."""
    hidden = torch.tensor([[1.0, 0], [0, 10], [100, 0], [0, 1000], [7, 7]])
    mask = torch.tensor([[1, 0], [1, 1], [0, 1], [1, 0], [0, 0]])
    return TextFeatures({"hidden": hidden, "mask": mask})


@pytest.mark.parametrize(
    ("combine", "hidden", "mask"),
    [
        ("nearest", [[1, 0], [100, 0], [0, 1000]], [[1, 0], [0, 1], [1, 0]]),
        ("interpolated", [[0.6, 4], [80, 2], [0, 1000]], [[1, 1], [1, 1], [1, 0]]),
    ],
)
def test_features_of_views(
    guidance: Callable[..., SdsGuidance],
    view_prompts: Callable[..., ViewPrompts],
    combine: str,
    hidden: list[list[float]],
    mask: list[list[int]],
) -> None:
    section = guidance(view_prompts=view_prompts(combine=combine))
    found = text_for_views(
        _features(),
        torch.tensor([36.0, 180 + 18.0, 36]),
        torch.tensor([0.0, 0, 80]),
        section.view_prompts,
        guidance_prompts("a red mug", section),
    )
    torch.testing.assert_close(found.tensors["hidden"], torch.tensor(hidden).float())
    assert found.tensors["mask"].tolist() == mask


def test_features_of_other_prompts_are_refused() -> None:
    with pytest.raises(WeightsError, match="no row for 'side' among front, negative"):
        row_of("side", ["front", "negative"])
