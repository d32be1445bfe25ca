"""The table that a run ends with."""

from pathlib import Path

from dreamfusion_kit.evaluation.metrics import METRICS
from dreamfusion_kit.recipe.schema import LocalSourceSection
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.report.measures import written
from dreamfusion_kit.stages import score, summary

from .conftest import ASSETS, SUITE


def test_the_table_ends_with_the_suite_and_the_gallery(evaluated: Path) -> None:
    score.run(evaluated, SUITE)
    lines = summary.table(evaluated, SUITE).splitlines()
    assert lines[0].startswith("asset")
    shown = [metric for metric in METRICS if "terminal" in metric.places]
    cells = [written(None if "fronts" in m.heading else 0.5, m.unit) for m in shown]
    assert lines[1].split() == ["cyan_cone", *" ".join([*cells, "4.0 s"]).split()]
    assert "R-Precision, colour 50 % (true renders 50 %, chance 50 %)" in lines
    assert lines[-2].startswith("Judged by CLIP (dreamfusion_kit/toybox/weights/clip) among")
    assert lines[-1].endswith("suites/trio/out/report/index.html")


def test_who_optimised_against_the_judge_is_named(evaluated: Path) -> None:
    shipped = Path(__file__).parents[2] / "recipes" / "toybox-clip.yaml"
    judge = load_suite(evaluated, SUITE).evaluation.clip
    assert isinstance(judge, LocalSourceSection)
    text = shipped.read_text()
    other = text.replace("kind: bundled\n    name: clip", f"kind: local\n    path: {judge.path}")
    assert other != text
    (evaluated / "recipes" / "toybox.yaml").write_text(other)
    score.run(evaluated, SUITE)
    notes = [
        line for line in summary.table(evaluated, SUITE).splitlines() if "judging CLIP" in line
    ]
    assert [note.partition(":")[0] for note in notes] == list(ASSETS)
    assert all("cannot be compared" in note for note in notes)
