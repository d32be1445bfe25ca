"""The script `benchmarks/gpu_checks.py`, tried on a CPU with tiny models."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def script(benchmark_program: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark_program("gpu_checks")


def test_a_tiny_run_writes_numbers_and_verdicts(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--device", "cpu", "--tiny", "--rounds", "1", "--threads", "1"]
    only = ["--only", "triton", "memory", "tests", "tinycudann", "--backends", "sd15"]
    status = script.main([*options, *only, "--out", str(tmp_path)])
    record = json.loads((tmp_path / "gpu_checks.json").read_text())
    verdicts = {outcome["name"]: outcome["verdict"] for outcome in record["outcomes"]}
    assert verdicts == {
        "triton": "passed",
        "memory": "skipped",  # of what `step` measures, which did not run
        "tests": "skipped",
        "tinycudann": "skipped",
    }
    assert status == 0
    (result,) = json.loads((tmp_path / "without_triton.json").read_text())["results"]
    assert f"{result['object_ratio']:.2f} times its floor" in capsys.readouterr().out


def test_a_process_that_fails_is_told_with_its_last_line(
    script: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "step.json").write_text("{}")  # of an earlier run
    status = script.main(
        [
            "--device",
            "cpu",
            "--only",
            "step",
            "memory",
            "--backends",
            "sd99",
            "--out",
            str(tmp_path),
        ]
    )
    outcomes = json.loads((tmp_path / "gpu_checks.json").read_text())["outcomes"]
    assert status == 1
    assert [outcome["verdict"] for outcome in outcomes] == ["failed", "skipped"]
    assert "exit status 2: " in outcomes[0]["said"]
    assert "sd99" in outcomes[0]["said"]


def row(ratio: float, peak: int, estimate: int) -> dict[str, Any]:
    return {
        "backend": "one",
        "object_ratio": ratio,
        "peak_bytes": peak,
        "estimated_bytes": estimate,
    }


@pytest.mark.parametrize(
    ("ratio", "expected"), [(1.1, "passed"), (1.15, "passed"), (1.16, "failed")]
)
def test_the_bar_for_time(script: ModuleType, ratio: float, expected: str) -> None:
    verdict, said = script.judged_times([row(1.0, 1, 1), row(ratio, 1, 1)])
    assert verdict == expected
    assert f"{ratio:.2f}" in said


@pytest.mark.parametrize(
    ("estimate", "expected"),
    [(100, "passed"), (104, "passed"), (96, "passed"), (106, "failed"), (94, "failed")],
)
def test_the_tolerance_of_the_estimate(script: ModuleType, estimate: int, expected: str) -> None:
    verdict, said = script.judged_memory([row(1.0, 100, 100), row(1.0, 100, estimate)])
    assert verdict == expected
    assert f"{estimate - 100:+.1f} %" in said
