from pathlib import Path

from dreamfusion_kit.gate.table import markdown, summary
from dreamfusion_kit.gate.verdict import judge
from dreamfusion_kit.recipe.gate import GateSection

from .conftest import as_metrics, asset_row, made_rows


def report(before: object, after: object, gate: GateSection, **options: object) -> str:
    sides = {"against": "main", "pictures": lambda asset: None} | options
    return markdown(judge(before, after, gate), **sides)


def rows_of(text: str, first: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| `{first}`"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_fall_is_named_with_its_numbers(gate: GateSection) -> None:
    before, after = [asset_row("11111111")] * 8, [asset_row("11110000")] * 8
    text = report(as_metrics(before), as_metrics(after), gate)
    assert text.startswith("## Quality gate: refused")
    cells = rows_of(text, "r_precision.color")
    assert cells[1:5] == ["1.0000", "0.5000", "-0.5000", "-0.5000 to -0.5000"]
    assert cells[5:8] == ["0.0039", "0.0039", "0.02"]  # 1 of 256 flips
    assert cells[9] == "**fell**"
    decision = summary(judge(as_metrics(before), as_metrics(after), gate))
    assert decision == "gate: refused: r_precision.color fell from 1.0000 to 0.5000"


def test_lower_is_better_keeps_its_own_sign(gate: GateSection) -> None:
    before = [asset_row("1111", chamfer=0.03)] * 8
    after = [asset_row("1111", chamfer=0.05)] * 8
    cells = rows_of(report(as_metrics(before), as_metrics(after), gate), "chamfer")
    assert cells[3:5] == ["+0.0200", "+0.0200 to +0.0200"]
    assert cells[9] == "**fell**"


def test_every_row_has_the_header_s_cells(gate: GateSection) -> None:
    before = as_metrics([asset_row("1111", iou=None)] * 6)
    text = report(before, before, gate)
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert rows_of(text, "iou")[-1] == "not measured"


def test_a_small_suite_says_so(gate: GateSection) -> None:
    small, large = made_rows(4, 0), made_rows(64, 0)
    text = report(as_metrics(small), as_metrics(small), gate)
    assert "too small to detect the given drops" in text
    assert "**4 assets can refuse nothing**: the smallest p they can give is 0.0625" in text
    text = report(as_metrics(large), as_metrics(large), gate)
    assert "refuse nothing" not in text


def test_what_differs_between_the_sides_is_named(gate: GateSection) -> None:
    row = asset_row("1111")
    before = as_metrics({"a": row, "b": row, "gone": row})
    changed = {"a": row, "b": {**row, "seed": 1, "identity": "cd"}, "new": row}
    after = as_metrics(changed, code={"optimize": "99", "mesh": "22"}, machine=None)
    text = report(before, after, gate)
    assert "- code of the stages: `evaluate`, `optimize`" in text
    assert "- resolved recipe, prompt or seed, of: `b`" in text
    assert "- seed, of: `b`" in text
    assert '- machine: `{"device": "cpu"}` before, `null` here' in text
    assert "- only in the base: `gone`" in text
    assert "- only here: `new`" in text
    same = report(before, before, gate)
    assert "Code, machine, recipes and seeds are the same on both sides." in same


def test_assets_that_changed_most_come_first(gate: GateSection) -> None:
    before = {f"a{i}": asset_row("11111111") for i in range(9)}
    after = before | {"a3": asset_row("11110000"), "a7": asset_row("11111110")}
    found = {"a3": Path("out/default/evaluation/a3/views")}
    text = report(as_metrics(before), as_metrics(after), gate, pictures=found.get)
    assert rows_of(text, "a3") == [
        "`a3`", "`r_precision.color`", "1.0000", "0.5000", "-5.0", "`11111111` → `11110000`",
        "`out/default/evaluation/a3/views`",
    ]  # fmt: skip
    assert rows_of(text, "a7")[-1] == "-"
    assert text.index("`a3`") < text.index("`a7`")
    assert "| `a0` |" not in text
    assert "No asset changed." in report(as_metrics(before), as_metrics(before), gate)


def test_a_metrics_file_writes_no_markup(gate: GateSection) -> None:
    hostile = "`</code><img src=x>|\n# owned\u202e@everyone"
    row = asset_row("1111")
    before = as_metrics({"a": row}, suite=hostile, machine={"device": "a"})
    after = as_metrics(
        {"a": {**row, "recipe": hostile}},
        suite=hostile,
        machine={"device": hostile},
        code={hostile: "1"},
    )
    text = report(before, after, gate, against=hostile)
    assert "\n# owned" not in text
    assert "\u202e" not in text
    outside = "".join(text.split("`")[::2])  # what is not in a code span
    assert "<img" not in outside
    assert "@everyone" not in outside


def test_long_lists_are_cut(gate: GateSection) -> None:
    row = asset_row("1111")
    before = as_metrics({f"a{i:02d}": row for i in range(30)})
    after = as_metrics({"a00": row})
    assert "`a08` and 21 more" in report(before, after, gate)


def test_a_moved_measurement_is_refused_and_said(gate: GateSection) -> None:
    before = {f"a{i}": asset_row("1111") for i in range(3)}
    higher = asset_row("1111", iou=0.9) | {"identity": before["a1"]["identity"]}
    sides = as_metrics(before), as_metrics(before | {"a1": higher})
    text = report(*sides, gate)
    assert text.startswith("## Quality gate: refused")
    assert "**The measurement itself moved**: numbers differ for `a1`, made from" in text
    assert summary(judge(*sides, gate)) == "gate: refused: the measurement itself moved"
