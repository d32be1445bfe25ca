"""The count of live tensors against bytes added up by hand, and against torch's allocator."""

from collections.abc import Callable

import torch
from torch import nn

from dreamfusion_kit.memory.live import LiveMemory


def test_tensors_count_until_the_last_of_them_is_gone() -> None:
    with LiveMemory() as memory:
        first = torch.zeros(1000)
        second = first + 1
        assert (memory.alive_bytes, memory.peak_bytes) == (8000, 8000)
        view = second[:10]
        del first
        assert memory.alive_bytes == 4000
        del second
        assert memory.alive_bytes == 4000  # the view holds all of it
        del view
    assert (memory.alive_bytes, memory.peak_bytes) == (0, 8000)


def test_what_was_there_before_does_not_count() -> None:
    outside = torch.zeros(10, 100)
    with LiveMemory() as memory:
        outside.t().add_(1)
    assert memory.peak_bytes == 0


def test_a_graph_holds_what_its_backward_needs() -> None:
    parameter = nn.Parameter(torch.zeros(1000))
    with LiveMemory() as memory:
        loss = parameter.exp().sum()  # the derivative of exp is its own result
        assert memory.alive_bytes == 4000 + 4
        loss.backward()
        assert memory.alive_bytes == 4000 + 4  # now the gradient instead
    assert memory.peak_bytes >= 8000


def test_the_meta_device_counts_as_the_cpu_does() -> None:
    peaks: list[int] = []
    for device in ("cpu", "meta"):
        network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.SiLU(), nn.GroupNorm(2, 8)).to(device)
        with LiveMemory() as memory:
            network(torch.ones(2, 3, 32, 32, device=device)).square().mean().backward()
        peaks.append(memory.peak_bytes)
    assert peaks[0] == peaks[1] > 2 * 8 * 30 * 30 * 4


def test_torch_s_own_allocator_sees_the_same_peak(
    allocator_peak: Callable[[Callable[[], None]], int],
) -> None:
    network = nn.Sequential(nn.Linear(64, 256), nn.SiLU(), nn.LayerNorm(256), nn.Linear(256, 4))
    images = torch.ones(500, 64)

    def run() -> None:
        for parameter in network.parameters():
            parameter.grad = None
        network(images).square().mean().backward()

    run()
    with LiveMemory() as memory:
        run()
    assert abs(memory.peak_bytes / allocator_peak(run) - 1) < 0.1
