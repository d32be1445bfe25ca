"""What a worker needs of a node, from doctor's estimate."""

from pathlib import Path

import pytest
import torch

from dreamfusion_kit.memory.device import describe_device
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.suites import needs

DATA = Path(__file__).parents[1] / "recipe" / "data" / "workspace"


@pytest.mark.parametrize(("threads", "cpus"), [("4", 4), ("", 1), ("0", 1), ("many", 1)])
def test_a_worker_has_as_many_cores_as_threads(
    monkeypatch: pytest.MonkeyPatch, threads: str, cpus: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    found = needs.of_suite(DATA, load_suite(DATA, "trio"), device="cpu")
    assert (found.cpus, found.gpus) == (cpus, 0)


def test_memory_has_room_for_libraries_and_more() -> None:
    suite = load_suite(DATA, "trio")
    libraries = describe_device(torch.device("cpu")).libraries_bytes
    for device, gpus in (("cpu", 0), ("cuda", 1)):
        found = needs.of_suite(DATA, suite, device=device)
        assert found.gpus == gpus
        assert libraries < found.memory_bytes < libraries + (4 << 30)
