"""The scratch's key covers the code that decides a field; of the machine, see test_run_key."""

from pathlib import Path

import pytest

from dreamfusion_kit.identity.code import code_digest
from dreamfusion_kit.recipe.resolved import resolve
from dreamfusion_kit.stages import optimize
from dreamfusion_kit.stages.layout import SuiteLayout


def test_a_checkpoint_belongs_to_all_the_code_that_decides_the_field(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the digest covers is for tests/identity."""
    layout = SuiteLayout(made, "default")
    arguments = resolve(made, "default", "mug"), layout.asset("mug"), layout.model("analytic")
    before = optimize._inputs(*arguments)
    assert before["code"] == code_digest("optimize")
    monkeypatch.setattr(optimize, "code_digest", lambda _: "0" * 64)
    after = optimize._inputs(*arguments)
    assert {key for key in before if before[key] != after[key]} == {"code"}
