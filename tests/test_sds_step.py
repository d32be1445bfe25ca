"""The script `benchmarks/sds_step.py` on one tiny backend."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).parents[1]


@pytest.fixture
def script(benchmark_program: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark_program("sds_step")


def test_a_tiny_backend_is_timed_and_written(
    script: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "numbers" / "sds.json"
    script.main(["sd15", "--tiny", "--threads", "1", "--rounds", "2", "--json", str(path)])
    record = json.loads(path.read_text())
    (result,) = record["results"]
    for name in ("whole", "object"):
        ratio = result[f"{name}_step_s"] / result["floor_s"]
        assert result[f"{name}_ratio"] == pytest.approx(ratio)
        # The step renders, the floor does not; and both go once through the prior.
        assert ratio > 1
    assert {name: len(times) for name, times in result["times_s"].items()} == {
        "whole": 2,
        "object": 2,
        "floor": 2,
    }
    assert result["estimated_bytes"] == pytest.approx(result["peak_bytes"], rel=0.1)
    assert record["machine"]["device"] == "cpu"
    rows = [row for row in capsys.readouterr().out.splitlines() if row.startswith("| latent_unet")]
    assert len(rows) == 1
    assert f" {result['whole_ratio']:.2f} |" in rows[0]
    assert f" {result['object_ratio']:.2f} |" in rows[0]


def test_an_object_is_an_eighth_of_the_sphere(script: ModuleType) -> None:
    recipe = script.load_recipe(ROOT / "recipes" / "toybox.yaml")
    grid = script.object_occupancy(recipe, 2.0, torch.device("cpu"))
    points = torch.tensor([[0.9, 0.0, 0.0], [0.0, -1.1, 0.0], [0.0, 0.0, 0.0]])
    assert grid.query(points).tolist() == [True, False, True]
    ball = 4 / 3 * math.pi * 0.25**3
    assert float(grid.occupied.float().mean()) == pytest.approx(ball, rel=0.02)


def test_every_backend_becomes_tiny(script: ModuleType) -> None:
    from dreamfusion_kit.memory.meta_model import module_bytes, on_meta

    for backend in script.BACKENDS.values():
        parts = script._shrunk(backend)
        assert parts.keys() == backend.components.keys()
        for config in parts.values():
            assert module_bytes(on_meta(config, "float32")) < 2**21
