"""The requested device, or an error."""

import pytest
import torch

from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.stages import devices


def test_cpu_is_always_there() -> None:
    assert devices.pick("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["tpu", "mps", "", "cuda:x", "cpu:1"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(DreamFusionKitError, match="expected cpu, cuda or cuda:N"):
        devices.pick(name)


def test_cuda_without_a_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DreamFusionKitError, match="sees no CUDA device; use --device cpu"):
        devices.pick("cuda")


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(DreamFusionKitError, match="cuda:2: this machine has 2 CUDA devices"):
        devices.pick("cuda:2")
