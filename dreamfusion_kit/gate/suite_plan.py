"""Which tests the pytest plugin makes for a suite, and what each compares with."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from dreamfusion_kit.errors import EvaluationError
from dreamfusion_kit.gate.judges import with_judges
from dreamfusion_kit.gate.metrics import Metrics, read_against, read_workspace
from dreamfusion_kit.recipe.gate import GateSection, load_gate
from dreamfusion_kit.recipe.workspace import DEFAULT

NUM_KEY_VIEWS = 4  # front, left, back and right


@dataclass(frozen=True)
class Plan:
    """Two sides of a suite as test cases, in an order that depends only on ids.

    `stored` is the folder of numbers and pictures if no `baseline` is given. A metric is
    tested if either side has it, so that a metric which is no longer measured fails.
    """

    workspace: Path
    suite: str
    gate: GateSection
    current: Metrics
    baseline: Metrics | None
    stored: Path
    metric_cases: tuple[tuple[str, str], ...]
    view_cases: tuple[tuple[str, int], ...]

    def picture(self, asset: str, view: int) -> Path | None:
        """Return the asset's picture of a view, None if it has not been made or pulled."""
        file = Path("evaluation") / asset / "views" / f"color_{view:02d}.png"
        own = Path() if self.suite == DEFAULT else Path("suites") / self.suite
        roots = (own / "out", Path("out") / self.suite)
        found = (self.workspace / root / file for root in roots)
        return next((path for path in found if path.is_file()), None)


PLAN: pytest.StashKey[Plan] = pytest.StashKey()


def metric_file(key: str) -> str:
    """Return the stored file's name of a metric, without its extension."""
    return key.replace(".", "-")


def plan(workspace: Path, suite: str, against: str | None) -> Plan:
    """Return the tests of the suite in `workspace`.

    Args:
        workspace: The folder with params.yaml.
        suite: The suite's name.
        against: A Git revision or a .json file; None compares with regression/<suite>/.
    """
    current = read_workspace(workspace, suite)
    baseline = None if against is None else read_against(workspace, suite, against)
    sides = [current] if baseline is None else [current, baseline]
    gate = with_judges(load_gate(workspace / "params.yaml"), *sides)
    stored = workspace / "regression" / suite
    metrics = [
        (asset, key)
        for asset in _assets(current, baseline, stored)
        for key in gate.metrics
        if _is_compared(current, baseline, stored, asset, key)
    ]
    views = [
        (asset, view)
        for asset in sorted(current.assets)
        if baseline is None or asset in baseline.assets
        for view in _key_views(current, asset)
    ]
    if not metrics:
        raise EvaluationError(
            f"suite {suite!r}: found none of the metrics of gate: in params.yaml on both sides; "
            "compare two revisions of one suite"
        )
    return Plan(workspace, suite, gate, current, baseline, stored, tuple(metrics), tuple(views))


def _assets(current: Metrics, baseline: Metrics | None, stored: Path) -> list[str]:
    if baseline is not None:
        return sorted(baseline.assets)
    folders = [path.name for path in stored.iterdir() if path.is_dir()] if stored.is_dir() else []
    return sorted({*current.assets, *folders})


def _is_compared(
    current: Metrics, baseline: Metrics | None, stored: Path, asset: str, key: str
) -> bool:
    if baseline is not None:
        return baseline.assets[asset].value(key) is not None
    row = current.assets.get(asset)
    return (row is not None and row.value(key) is not None) or (
        stored / asset / f"{metric_file(key)}.csv"
    ).is_file()


def _key_views(current: Metrics, asset: str) -> list[int]:
    number = len(current.assets[asset].cosines)
    return sorted(
        {number * side // NUM_KEY_VIEWS for side in range(NUM_KEY_VIEWS)} if number else set()
    )
