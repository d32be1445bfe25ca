"""What a worker needs of a node, from doctor's estimate."""

from pathlib import Path

import pytest
import torch

from dreamfusion_kit.memory.device import describe_device
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.suites import needs

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("threads", "cpus"), [("4", 4), ("", 1), ("0", 1), ("many", 1)])
def test_a_worker_has_as_many_cores_as_threads(
    monkeypatch: pytest.MonkeyPatch, threads: str, cpus: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    found = needs.of_suite(ROOT, load_suite(ROOT, "default"), device="cpu")
    assert (found.cpus, found.gpus) == (cpus, 0)


def test_memory_has_room_for_libraries_and_more() -> None:
    suite = load_suite(ROOT, "default")
    libraries = describe_device(torch.device("cpu")).libraries_bytes
    for device, gpus in (("cpu", 0), ("cuda", 1)):
        found = needs.of_suite(ROOT, suite, device=device)
        assert found.gpus == gpus
        assert libraries < found.memory_bytes < libraries + (4 << 30)
