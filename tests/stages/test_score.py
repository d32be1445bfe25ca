"""A suite's metrics and table, from what its assets left."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from dreamfusion_kit import provenance
from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.evaluation.metrics import METRICS
from dreamfusion_kit.identity.code import code_digest
from dreamfusion_kit.recipe.resolved import resolve
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.stages import score
from dreamfusion_kit.stages.layout import SuiteLayout
from dreamfusion_kit.workspace import edit as suite_edit
from dreamfusion_kit.workspace.folder import new_suite

from .conftest import ASSETS, SUITE, entry_of, write


def test_the_summary_has_every_metric_and_a_row_per_asset(evaluated: Path) -> None:
    path = score.run(evaluated, SUITE)
    assert path == evaluated / "suites" / SUITE / "metrics" / f"{SUITE}.json"
    found = json.loads(path.read_text())
    summary = found["summary"]
    assert summary["num_assets"] == 3
    assert summary["r_precision"]["color"] == 0.5
    assert summary["r_precision"]["color_low"] < 0.5 < summary["r_precision"]["color_high"]
    assert summary["iou"] == 0.5
    assert summary["watertight"] == pytest.approx(2 / 3, abs=1e-4)
    assert summary["front_views"] is None  # balls, cubes and cones look the same all around
    assert summary["diversity"] is None  # one seed each
    assert found["caption_pool"]["size"] == 144
    assert list(found["assets"]) == list(ASSETS)
    row = found["assets"]["red_ball"]
    assert set(row["metrics"]) == {metric.key for metric in METRICS}
    assert row["identity"] == resolve(evaluated, SUITE, "red_ball").identity


def test_costs_are_a_file_of_their_own(evaluated: Path) -> None:
    text = score.run(evaluated, SUITE).read_text()
    assert "seconds" not in text
    cost = json.loads(SuiteLayout(evaluated, SUITE).cost.read_text())
    assert (cost["seconds_per_asset"], cost["peak_memory_bytes"]) == (6.0, 502)
    assert [cost["assets"][asset]["seconds"] for asset in ASSETS] == [4.0, 6.0, 8.0]


def test_unknown_costs_change_nothing(evaluated: Path) -> None:
    layout = SuiteLayout(evaluated, SUITE)
    before = score.run(evaluated, SUITE).read_bytes()
    noted = layout.cost.read_bytes()
    for asset in ASSETS:
        layout.asset(asset).cost("mesh").unlink()
    assert score.run(evaluated, SUITE).read_bytes() == before
    assert layout.cost.read_bytes() == noted


def test_the_code_of_the_stages_that_decide_the_numbers_is_named(evaluated: Path) -> None:
    code = json.loads(score.run(evaluated, SUITE).read_text())["code"]
    assert code == {stage: code_digest(stage) for stage in ("optimize", "mesh", "evaluate")}


def test_the_machine_is_named_where_it_is_one(evaluated: Path) -> None:
    layout = SuiteLayout(evaluated, SUITE)

    def machine() -> object:
        return json.loads(score.run(evaluated, SUITE).read_text())["machine"]

    assert machine() is None  # nothing records which
    record = provenance.record(device=torch.device("cpu"), code="0" * 64, inputs={})
    runs = [layout.asset(asset).run(stage) for asset in ASSETS for stage in ("optimize", "mesh")]
    for path in runs:
        write(path, record)
    assert machine() == record["machine"]
    write(runs[1], {**record, "machine": {**record["machine"], "cpu": "another"}})
    assert machine() is None
    write(runs[1], record)
    assert machine() == record["machine"]
    runs[-1].unlink()
    assert machine() is None


def test_the_table_has_a_row_per_asset(evaluated: Path) -> None:
    score.run(evaluated, SUITE)
    with SuiteLayout(evaluated, SUITE).table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["asset"] for row in rows] == list(ASSETS)
    assert [row["r_precision_color"] for row in rows] == ["0.5"] * 3
    assert rows[0]["front_views"] == ""


def test_twice_gives_the_same_bytes(evaluated: Path) -> None:
    layout = SuiteLayout(evaluated, SUITE)
    paths = (score.run(evaluated, SUITE), layout.table, layout.cost)
    before = [path.read_bytes() for path in paths]
    score.run(evaluated, SUITE)
    assert [path.read_bytes() for path in paths] == before


def test_an_empty_suite_is_refused(evaluated: Path) -> None:
    new_suite(evaluated, "empty")
    with pytest.raises(DreamFusionKitError, match="suite empty: found no assets, expected one"):
        score.run(evaluated, "empty")


def test_an_asset_that_was_not_evaluated_is_named(evaluated: Path) -> None:
    (SuiteLayout(evaluated, SUITE).asset("green_cube").evaluation / "metrics.json").unlink()
    with pytest.raises(DreamFusionKitError, match=r"green_cube.*evaluate stage; run `dvc repro`"):
        score.run(evaluated, SUITE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"asset": "red_ball"}, "found the metrics of 'red_ball'"),
        ({"prompt": "a pink cube"}, "found the metrics of 'green_cube' .'a pink cube'."),
        ({"format_version": 1}, "format_version: found 1, expected 2"),
        ({"metrics": 3}, "metrics: found 3, expected an object"),
        ({"judge": {"name": "another"}}, "by another judge or pool"),
        ({"caption_pool": None}, "by another judge or pool"),
    ],
)
def test_what_the_metrics_say_of_themselves_is_compared(
    evaluated: Path, changes: dict[str, Any], message: str
) -> None:
    entry = entry_of("green_cube", load_suite(evaluated, SUITE), evaluated)
    path = SuiteLayout(evaluated, SUITE).asset("green_cube").evaluation / "metrics.json"
    write(path, entry | changes)
    with pytest.raises(DreamFusionKitError, match=message) as caught:
        score.run(evaluated, SUITE)
    assert len(str(caught.value).splitlines()) == 1
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"text"', "{", "\ufeff{}", ""])
def test_metrics_that_are_no_mapping_are_refused(evaluated: Path, text: str) -> None:
    path = SuiteLayout(evaluated, SUITE).asset("red_ball").evaluation / "metrics.json"
    path.write_text(text)
    with pytest.raises(DreamFusionKitError, match=r"metrics\.json"):
        score.run(evaluated, SUITE)


def _two_seeds(evaluated: Path, features: dict[str, torch.Tensor]) -> None:
    """Give the ball a second seed, and each of both the judge's features of its views."""
    suite_edit.add(evaluated, SUITE, "red_ball_1", prompt="a red ball", recipe="toybox", seed=1)
    suite = load_suite(evaluated, SUITE)
    for asset, color in features.items():
        own = SuiteLayout(evaluated, SUITE).asset(asset)
        write(own.evaluation / "metrics.json", entry_of(asset, suite, evaluated))
        target = own.evaluation / "features.safetensors"
        save_file({"color": color}, target, metadata={"asset": asset})


def test_seeds_of_one_prompt_are_compared(evaluated: Path) -> None:
    one, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]])
    _two_seeds(evaluated, {"red_ball": one, "red_ball_1": other})
    found = json.loads(score.run(evaluated, SUITE).read_text())
    assert found["summary"]["diversity"] == 0.4
    assert found["assets"]["red_ball"]["metrics"]["diversity"] == 0.4
    assert found["assets"]["green_cube"]["metrics"]["diversity"] is None


def test_features_of_another_asset_are_refused(evaluated: Path) -> None:
    _two_seeds(evaluated, {"red_ball": torch.ones(1, 1), "red_ball_1": torch.ones(1, 1)})
    layout = SuiteLayout(evaluated, SUITE)
    target = layout.asset("red_ball_1").evaluation / "features.safetensors"
    source = layout.asset("red_ball").evaluation / "features.safetensors"
    target.write_bytes(source.read_bytes())
    with pytest.raises(
        DreamFusionKitError,
        match="found the features of 'red_ball', expected those of 'red_ball_1'",
    ):
        score.run(evaluated, SUITE)
    save_file({"color": torch.ones(1, 1)}, target, metadata={"asset": "a\nb\u202e"})
    with pytest.raises(DreamFusionKitError, match=r"found the features of 'a\\nb\\u202e'"):
        score.run(evaluated, SUITE)
    target.unlink()
    with pytest.raises(DreamFusionKitError, match=r"features\.safetensors: cannot be read"):
        score.run(evaluated, SUITE)
