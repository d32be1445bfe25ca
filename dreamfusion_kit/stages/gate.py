"""Stage gate: has the quality of a suite fallen since a revision? Reads only metrics."""

from dataclasses import dataclass
from pathlib import Path

from dreamfusion_kit import files
from dreamfusion_kit.gate.metrics import read_against, read_workspace
from dreamfusion_kit.gate.table import markdown, summary
from dreamfusion_kit.gate.verdict import judge
from dreamfusion_kit.recipe.gate import load_gate
from dreamfusion_kit.stages.layout import SuiteLayout


@dataclass(frozen=True)
class Outcome:
    """The report, its decision on one line, and whether the change is refused."""

    report: str
    decision: str
    refused: bool


def run(workspace: Path, suite: str, against: str, report: Path | None) -> Outcome:
    """Compare the suite's metrics with those at `against`; write the report if asked for."""
    gate = load_gate(workspace / "params.yaml")
    before = read_against(workspace, suite, against)
    comparison = judge(before, read_workspace(workspace, suite), gate)
    layout = SuiteLayout(workspace, suite)

    def pictures(asset: str) -> Path | None:
        folder = layout.asset(asset).evaluation / "views"
        return folder if folder.is_dir() else None

    text = markdown(comparison, against=against, pictures=pictures)
    if report is not None:
        files.write_text(report, text)
    return Outcome(text, summary(comparison), comparison.refused)
