"""The table that a run ends with."""

import shutil
from pathlib import Path

from dreamfusion_kit.stages import score, summary

from .conftest import SUITE


def test_the_table_ends_with_the_suite_and_the_gallery(evaluated: Path) -> None:
    score.run(evaluated, SUITE)
    lines = summary.table(evaluated, SUITE).splitlines()
    assert lines[0].startswith("asset")
    assert lines[1].split() == ["red_ball", "0.500", "0.250", "0.800", "0.020", "-", "4"]
    assert lines[-2] == "R-Precision, colour 0.500 (true renders 1.000, chance 0.007)"
    assert lines[-1].endswith("out/trio/report/index.html")


def test_who_optimised_against_the_judge_is_named(evaluated: Path) -> None:
    shipped = Path(__file__).parents[2] / "recipes" / "toybox-clip.yaml"
    shutil.copy(shipped, evaluated / "recipes" / "toybox.yaml")
    score.run(evaluated, SUITE)
    notes = [line for line in summary.table(evaluated, SUITE).splitlines() if "judges" in line]
    assert [note.partition(":")[0] for note in notes] == ["red_ball", "green_cube", "cyan_cone"]
    assert all("cannot be compared" in note for note in notes)
