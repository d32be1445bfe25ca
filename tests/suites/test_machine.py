"""What each worker gets of the machine."""

import os
from pathlib import Path

import pytest

from dreamfusion_kit.errors import SuiteError
from dreamfusion_kit.suites import machine
from dreamfusion_kit.suites.worker import Setting


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)


def settings(jobs: str, device: str = "cpu") -> list[Setting]:
    return machine.settings(Path(), "default", device=device, jobs=jobs)


@pytest.mark.parametrize(
    ("jobs", "count", "threads"), [("auto", 8, "1"), ("1", 1, "8"), ("3", 3, "2"), ("16", 16, "1")]
)
def test_workers_share_the_cores(jobs: str, count: int, threads: str) -> None:
    found = settings(jobs)
    assert len(found) == count
    assert {setting.environment["OMP_NUM_THREADS"] for setting in found} == {threads}


def test_a_set_number_of_threads_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert settings("2")[0].environment["OMP_NUM_THREADS"] == "5"


def test_each_gpu_has_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-7f")
    found = settings("auto", "cuda")
    assert [one.environment["CUDA_VISIBLE_DEVICES"] for one in found] == ["3", "GPU-7f"]
    found = settings("3", "cuda")
    assert [one.environment["CUDA_VISIBLE_DEVICES"] for one in found] == ["3", "GPU-7f", "3"]


@pytest.mark.parametrize("jobs", ["0", "-1", "x", "1.5", "", "٣", "1025", "9" * 50])
def test_other_counts_are_refused(jobs: str) -> None:
    with pytest.raises(SuiteError, match="expected a number from 1 to 1024, or auto"):
        settings(jobs)
