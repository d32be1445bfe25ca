"""Every kind of guidance is built from its section."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.guidance.build import build_guidance
from dreamfusion_kit.guidance.sds import ScoreDistillation


@pytest.mark.parametrize("kind", ["sds", "sjc", "csd", "ism", "sdi", "rfds_rev"])
def test_kinds_without_state_share_their_class(
    guidance: Callable[..., Any], prompts: Callable[..., Any], gaussian: Any, kind: str
) -> None:
    section = guidance(kind)
    built = build_guidance(
        section, gaussian([0.5], 0.0, 1.0), prompts(section), generator=torch.Generator()
    )
    assert isinstance(built, ScoreDistillation)


def test_a_prior_that_cannot_be_adapted_is_refused(
    guidance: Callable[..., Any], prompts: Callable[..., Any], gaussian: Any
) -> None:
    section = guidance("vsd")
    prior = gaussian([0.5], 0.0, 1.0)
    with pytest.raises(RecipeError, match="Gaussian has no adapter"):
        build_guidance(section, prior, prompts(section), generator=torch.Generator())


def test_a_prior_without_signal_at_the_end_is_refused(
    guidance: Callable[..., Any], prompts: Callable[..., Any], gaussian: Any
) -> None:
    section = guidance("sjc", timestep_max=1.0)
    with pytest.raises(RecipeError, match=r"^guidance\.timestep_max: .*no signal left"):
        build_guidance(
            section, gaussian([0.5, 0.0], 0.0, 1.0), prompts(section), generator=torch.Generator()
        )
