"""Which text each rendered view gets."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.guidance.conditioning import PromptFeatures, conditioning_for
from dreamfusion_kit.priors.text import TextFeatures

KEYS = ["front", "side", "back", "overhead", "negative"]
NUMBERED = PromptFeatures(TextFeatures({"row": torch.arange(5.0)[:, None]}), KEYS)


def test_texts_follow_the_cameras(guidance: Callable[..., Any], views: Callable[..., Any]) -> None:
    cameras = views(torch.zeros(4, 3, 2, 2), [0.0, 90.0, 180.0, 0.0]).cameras
    cameras.elevation_deg[3] = 80.0
    found = conditioning_for(guidance(), NUMBERED, cameras)
    assert found.conditional.tensors["row"].flatten().tolist() == [0, 1, 2, 3]
    assert found.unconditional.tensors["row"].flatten().tolist() == [4, 4, 4, 4]
    assert found.repelling == ()


def test_a_text_that_was_not_embedded_is_refused() -> None:
    with pytest.raises(WeightsError, match="no row for 'unconditional'"):
        NUMBERED.select(["unconditional"])
