"""A suite's summary and table, from what its assets left."""

import csv
import json
from pathlib import Path

import pytest

from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.stages import score
from dreamfusion_kit.stages.layout import SuiteLayout

from .conftest import ASSETS, SUITE


def test_the_summary_has_the_promised_keys(evaluated: Path) -> None:
    path = score.run(evaluated, SUITE)
    assert path == evaluated / "metrics" / f"{SUITE}.json"
    summary = json.loads(path.read_text())
    assert summary["num_assets"] == 3
    assert summary["r_precision"]["color"] == 0.5
    assert summary["r_precision"]["geometry"] == 0.25
    assert summary["r_precision"]["ceiling"] == 1.0
    assert summary["r_precision"]["chance"] == pytest.approx(1 / 144, abs=1e-4)
    assert summary["iou"] == 0.8
    assert summary["chamfer"] == 0.02
    assert summary["clip_score"] == 0.5
    assert summary["seconds_per_asset"] == 6.0
    assert summary["peak_memory_bytes"] == 502
    assert summary["watertight"] == pytest.approx(2 / 3, abs=1e-4)
    assert summary["components"] == 2
    assert summary["front_views"] is None  # balls, cubes and cones look the same all around


def test_the_table_has_a_row_per_asset(evaluated: Path) -> None:
    score.run(evaluated, SUITE)
    with SuiteLayout(evaluated, SUITE).table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["asset"] for row in rows] == list(ASSETS)
    assert [float(row["seconds"]) for row in rows] == [4.0, 6.0, 8.0]
    assert [int(row["peak_memory_bytes"]) for row in rows] == [500, 501, 502]


def test_twice_gives_the_same_bytes(evaluated: Path) -> None:
    paths = (score.run(evaluated, SUITE), SuiteLayout(evaluated, SUITE).table)
    before = [path.read_bytes() for path in paths]
    score.run(evaluated, SUITE)
    assert [path.read_bytes() for path in paths] == before


def test_an_asset_that_was_not_evaluated_is_named(evaluated: Path) -> None:
    (SuiteLayout(evaluated, SUITE).asset("green_cube").evaluation / "metrics.json").unlink()
    with pytest.raises(DreamFusionKitError, match=r"green_cube.*evaluate stage; run `dvc repro`"):
        score.run(evaluated, SUITE)
