"""A prompt that the judge cannot read is refused before anything is optimised for it."""

import shutil
from pathlib import Path

import pytest
import torch

from dreamfusion_kit.errors import EvaluationError
from dreamfusion_kit.recipe import edit
from dreamfusion_kit.stages import embed, fetch
from dreamfusion_kit.stages.layout import CLIP

CPU = torch.device("cpu")
WEIGHTS = Path("dreamfusion_kit/toybox/weights/clip")
LONG = "a squirrel in a leather jacket, riding a motorcycle"


@pytest.fixture
def judged(workspace: Path) -> Path:
    """Return a workspace with the toybox CLIP, one short prompt and a long one."""
    shutil.copytree(Path(__file__).parents[2] / WEIGHTS, workspace / WEIGHTS)
    for asset, prompt in (("short", "a blob"), ("long", LONG)):
        edit.add_asset(workspace, "default", asset, prompt=prompt, recipe="analytic", seed=0)
    for name in ("analytic", CLIP):
        fetch.run(workspace, "default", name)
    return workspace


def test_a_prompt_too_long_for_the_judge_is_refused(judged: Path) -> None:
    assert embed.run(judged, "default", "short", CPU).is_file()
    with pytest.raises(EvaluationError, match=r"jacket.* tokens, expected at most 20 .*shorten"):
        embed.run(judged, "default", "long", CPU)
    assert not (judged / "out/default/text/long.safetensors").exists()
