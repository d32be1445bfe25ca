"""An asset that cannot fit is refused by its own recipe, overrides included."""

from pathlib import Path

import pytest
import torch

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.stages import memory

SUITE = """\
suite: big
recipes: [analytic]
assets:
  small:
    prompt: a red ball
    recipe: analytic
    seed: 0
    overrides: {}
  huge:
    prompt: a red ball
    recipe: analytic
    seed: 0
    overrides:
      renderer.num_samples: 1000000000
"""


def test_an_override_beyond_memory_is_refused_before_the_run(workspace: Path) -> None:
    (workspace / "suites" / "big").mkdir(parents=True)
    (workspace / "suites" / "big" / "params.yaml").write_text(SUITE)
    memory.check(workspace, "big", "small", torch.device("cpu"))
    with pytest.raises(RecipeError, match=r"^the optimisation needs about .*renderer.num_samples"):
        memory.check(workspace, "big", "huge", torch.device("cpu"))
