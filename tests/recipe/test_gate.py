from pathlib import Path

import pytest

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.gate import load_gate
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.recipe.workspace import DEFAULT

BLOCK = """\
# a comment
suite: default
gate:
  measured: two seeds
  significance: 0.05
  power: 0.8
  confidence_level: 0.95
  num_flips: 65536
  seed: 0
  view_cosine_spread: 0.02
  metrics:
    iou: {better: higher, tolerance: 0.02, spread: 0.05, drop: 0.05}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "params.yaml"
    path.write_text(text)
    return path


def test_the_block_is_read_beside_others(tmp_path: Path) -> None:
    gate = load_gate(write(tmp_path, BLOCK))
    assert gate.metrics["iou"].drop == 0.05
    assert gate.significance == 0.05


def test_without_the_block_it_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"params\.yaml: found no gate: block.*docs/gate\.md"):
        load_gate(write(tmp_path, "suite: default\n"))


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("tolerance: 0.02", "tolerance: -1", "12: gate.metrics.iou.tolerance: found -1"),
        ("better: higher", "better: more", "12: gate.metrics.iou.better: found"),
        ("power: 0.8", "powr: 0.8", "6: gate.powr: unknown key (did you mean power?)"),
        ("significance: 0.05", "significance: 5", "5: gate.significance: found 5"),
        ("    iou:", "    'i o u':", "12: gate.metrics"),
    ],
)
def test_problems_name_their_line(tmp_path: Path, old: str, new: str, line: str) -> None:
    path = write(tmp_path, BLOCK.replace(old, new))
    with pytest.raises(RecipeError) as error:
        load_gate(path)
    assert f"{path}:{line}" in str(error.value)


def test_a_suite_s_file_may_hold_the_block(workspace: Path) -> None:
    block = BLOCK.partition("suite: default\n")[2]
    params = workspace / "params.yaml"
    params.write_text(params.read_text() + block)
    assert load_suite(workspace, DEFAULT).assets
    assert load_gate(params).measured == "two seeds"
