"""The requested device, or an error."""

from collections.abc import Generator

import pytest
import torch

from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.stages import devices


def test_cpu_is_always_there() -> None:
    assert devices.pick("cpu") == torch.device("cpu")


@pytest.fixture
def two_threads() -> Generator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("two_threads")
def test_two_threads_of_a_cpu_sum_in_one_order() -> None:
    """Gradients of an indexed tensor differed now and then, and refined meshes with them."""
    devices.pick("cpu")
    draw = torch.Generator().manual_seed(0)
    vertices = torch.randn(6000, 3, generator=draw, requires_grad=True)
    faces = torch.randint(0, 6000, (40000, 3), generator=draw).sort(dim=0).values
    weights = torch.randn(40000, 3, 3, generator=draw)
    gradients = [
        torch.autograd.grad((vertices[faces] * weights).sum(), vertices)[0] for _ in range(200)
    ]
    assert all(torch.equal(gradient, gradients[0]) for gradient in gradients)


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
