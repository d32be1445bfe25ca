"""The scratch's key covers the code that decides a field."""

from pathlib import Path

import grimp
import pytest
import torch

from dreamfusion_kit.stages import optimize, pipeline

NAMES = ("One GPU", "Another GPU")

# What an optimisation imports besides, and no bit of the field depends on.
NO_PART_OF_THE_RESULT = {"__init__.py", "errors.py", "provenance.py", "stages"}


def test_a_checkpoint_belongs_to_all_the_code_that_decides_the_field() -> None:
    imported = pipeline.closure("optimize", grimp.build_graph(pipeline.PACKAGE))
    rooms = {Path(path).relative_to(pipeline.PACKAGE).parts[0] for path in imported}
    assert set(optimize.CODE) == rooms - NO_PART_OF_THE_RESULT


def test_a_checkpoint_belongs_to_the_machine_that_decides_its_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two GPUs that are both "cuda" are two machines, and "cuda" is "cuda:0"."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: NAMES[device.index or 0])
    first, same, other = (optimize._machine(torch.device(f"cuda{n}")) for n in ("", ":0", ":1"))
    assert first == same
    assert first != other
    assert optimize._machine(torch.device("cpu")) not in (first, other)
