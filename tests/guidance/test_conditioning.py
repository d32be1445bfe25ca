"""Which text each rendered view gets."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.guidance.conditioning import PromptFeatures, conditioning_for
from dreamfusion_kit.priors.text import TextFeatures
from dreamfusion_kit.recipe.schema import ViewPromptsSection

PERP_NEG = {
    "front_at_side": (4.0, 0.5, -2.426),
    "side_at_front": (4.0, 0.5, -2.426),
    "side_at_back": (1.0, 0.5, -0.606),
    "front_at_back": (1.0, 0.5, 0.967),
}
KEYS = ["front", "left", "right", "back", "overhead", "negative"]
NUMBERED = PromptFeatures(TextFeatures({"row": torch.arange(6.0)[:, None]}), KEYS)


def test_texts_follow_the_cameras(
    guidance: Callable[..., Any], views: Callable[..., Any], gaussian: Any
) -> None:
    cameras = views(torch.zeros(5, 3, 2, 2), [0.0, 90.0, 270.0, 180.0, 0.0]).cameras
    cameras.elevation_deg[4] = 80.0
    found = conditioning_for(guidance(), gaussian(0.5, 0.0, 1.0), NUMBERED, cameras)
    assert found.conditional.tensors["row"].flatten().tolist() == [0, 1, 2, 3, 4]
    assert found.unconditional.tensors["row"].flatten().tolist() == [5, 5, 5, 5, 5]
    assert found.negatives == ()


def test_what_a_prior_reads_of_the_cameras_is_beside_every_text(
    guidance: Callable[..., Any],
    views: Callable[..., Any],
    gaussian: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prior, cameras = gaussian(0.5, 0.0, 1.0), views(torch.zeros(2, 3, 2, 2), [0.0, 90.0]).cameras
    monkeypatch.setattr(prior, "camera_features", lambda seen: {"place": seen.azimuth_deg})
    found = conditioning_for(guidance(perp_neg=PERP_NEG), prior, NUMBERED, cameras)
    other = found.seen(NUMBERED.select(["back", "back"]))
    for text in (found.conditional, found.unconditional, *found.negatives, other):
        assert text.tensors["place"].tolist() == [0.0, 90.0]
    assert other.tensors["row"].flatten().tolist() == [3, 3]


def test_a_text_that_was_not_embedded_is_refused() -> None:
    with pytest.raises(WeightsError, match="no row for 'unconditional'"):
        NUMBERED.select(["unconditional"])


def _features() -> TextFeatures:
    """Return features of front, left, right, back, overhead and negative, with a mask of tokens."""
    hidden = torch.tensor([[1.0, 0], [0, 10], [0, 20], [100, 0], [0, 1000], [7, 7]])
    mask = torch.tensor([[1, 0], [1, 1], [1, 1], [0, 1], [1, 0], [0, 0]])
    return TextFeatures({"hidden": hidden, "mask": mask})


@pytest.mark.parametrize(
    ("combine", "hidden", "mask"),
    [
        ("nearest", [[1, 0], [100, 0], [0, 1000]], [[1, 0], [0, 1], [1, 0]]),
        ("interpolated", [[0.6, 4], [80, 4], [0, 1000]], [[1, 1], [1, 1], [1, 0]]),
    ],
)
def test_features_are_one_views_or_a_mix(
    view_prompts: Callable[..., ViewPromptsSection],
    views: Callable[..., Any],
    combine: str,
    hidden: list[list[float]],
    mask: list[list[int]],
) -> None:
    cameras = views(torch.zeros(3, 3, 2, 2), [36.0, 180 + 18.0, 36]).cameras
    cameras.elevation_deg[2] = 80.0
    found = PromptFeatures(_features(), KEYS).for_views(cameras, view_prompts(combine=combine))
    torch.testing.assert_close(found.tensors["hidden"], torch.tensor(hidden).float())
    assert found.tensors["mask"].tolist() == mask
