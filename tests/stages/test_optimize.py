"""The scratch's key covers the code and the machine that decide a field."""

from pathlib import Path

import pytest
import torch

from dreamfusion_kit.identity.code import code_digest
from dreamfusion_kit.recipe.suite import resolve
from dreamfusion_kit.stages import optimize
from dreamfusion_kit.stages.layout import SuiteLayout

NAMES = ("One GPU", "Another GPU")


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


def test_a_checkpoint_belongs_to_the_machine_that_decides_its_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two GPUs that are both "cuda" are two machines, and "cuda" is "cuda:0"."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: NAMES[device.index or 0])
    first, same, other = (optimize._machine(torch.device(f"cuda{n}")) for n in ("", ":0", ":1"))
    assert first == same
    assert first != other
    assert optimize._machine(torch.device("cpu")) not in (first, other)
