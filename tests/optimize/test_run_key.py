"""The scratch's key covers the inputs and the machine that decides the bytes."""

import pytest
import torch

from dreamfusion_kit.optimize.run_key import run_key

NAMES = ("One GPU", "Another GPU")
INPUTS = {"recipe": "1", "code": "2"}
CPU = torch.device("cpu")


def test_other_inputs_have_another_key() -> None:
    assert run_key(INPUTS, CPU) == run_key(dict(reversed(INPUTS.items())), CPU)
    assert run_key(INPUTS, CPU) != run_key({**INPUTS, "code": "3"}, CPU)


def test_a_key_belongs_to_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs that are both "cuda" are two machines, and "cuda" is "cuda:0"."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: NAMES[device.index or 0])
    first, same, other = (run_key(INPUTS, torch.device(f"cuda{n}")) for n in ("", ":0", ":1"))
    assert first == same
    assert len({first, other, run_key(INPUTS, CPU)}) == 3


def test_a_key_belongs_to_the_number_of_threads() -> None:
    before, threads = run_key(INPUTS, CPU), torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        assert run_key(INPUTS, CPU) != before
    finally:
        torch.set_num_threads(threads)
