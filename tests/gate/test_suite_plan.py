import json
from pathlib import Path

import pytest

from dreamfusion_kit.errors import EvaluationError
from dreamfusion_kit.gate.suite_plan import metric_file, plan

from .conftest import File, asset_row, metrics_file


def write(workspace: Path, rows: dict[str, File], suite: str = "default") -> None:
    folder = workspace if suite == "default" else workspace / "suites" / suite
    (folder / "metrics").mkdir(parents=True, exist_ok=True)
    (folder / "metrics" / f"{suite}.json").write_text(json.dumps(metrics_file(rows)))


def test_cases_are_every_metric_and_the_key_views(workspace: Path) -> None:
    write(workspace, {"b": asset_row("1111"), "a": asset_row("11110000", iou=None)})
    found = plan(workspace, "default", None)
    assert found.metric_cases == (
        ("a", "r_precision.color"), ("a", "chamfer"),
        ("b", "r_precision.color"), ("b", "iou"), ("b", "chamfer"),
    )  # fmt: skip
    assert found.view_cases == (
        ("a", 0), ("a", 2), ("a", 4), ("a", 6), ("b", 0), ("b", 1), ("b", 2), ("b", 3),
    )  # fmt: skip


@pytest.mark.parametrize(("number", "views"), [(1, [0]), (2, [0, 1]), (6, [0, 1, 3, 4]), (0, [])])
def test_few_views_are_not_repeated(workspace: Path, number: int, views: list[int]) -> None:
    write(workspace, {"a": asset_row("1" * number)})
    assert [view for _, view in plan(workspace, "default", None).view_cases] == views


def test_a_stored_metric_that_is_gone_stays_a_case(workspace: Path) -> None:
    write(workspace, {"a": asset_row("1", iou=None)})
    for asset in ("a", "gone"):
        file = workspace / "regression" / "default" / asset / f"{metric_file('iou')}.csv"
        file.parent.mkdir(parents=True)
        file.write_text(",value\n0,0.7\n")
    cases = plan(workspace, "default", None).metric_cases
    assert ("a", "iou") in cases
    assert ("gone", "iou") in cases
    assert ("gone", "chamfer") not in cases


def test_a_baseline_decides_what_is_compared(workspace: Path) -> None:
    base = {"a": asset_row("1", iou=None), "gone": asset_row("1")}
    (workspace / "base.json").write_text(json.dumps(metrics_file(base)))
    write(workspace, {"a": asset_row("1"), "new": asset_row("1")})
    found = plan(workspace, "default", "base.json")
    assert {asset for asset, _ in found.metric_cases} == {"a", "gone"}
    assert ("a", "iou") not in found.metric_cases
    assert found.view_cases == (("a", 0),)


def test_nothing_in_common_is_an_error(workspace: Path) -> None:
    base = {"a": asset_row("1", iou=None)}
    base["a"]["metrics"] = {"other": 1.0}
    (workspace / "base.json").write_text(json.dumps(metrics_file(base)))
    write(workspace, {"a": asset_row("1")})
    with pytest.raises(EvaluationError, match="found none of the metrics of gate:"):
        plan(workspace, "default", "base.json")


@pytest.mark.parametrize(
    ("suite", "folder"),
    [
        ("default", "out"),
        ("default", "out/default"),
        ("toys", "suites/toys/out"),
        ("toys", "out/toys"),
    ],
)
def test_pictures_are_found(workspace: Path, suite: str, folder: str) -> None:
    write(workspace, {"a": asset_row("1")}, suite)
    found = plan(workspace, suite, None)
    assert found.picture("a", 0) is None
    file = workspace / folder / "evaluation" / "a" / "views" / "color_00.png"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"png")
    assert found.picture("a", 0) == file
