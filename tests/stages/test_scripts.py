"""The programs of scripts/ on what stages wrote, where that is not complete or not as it was."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from dreamfusion_kit.stages import score
from dreamfusion_kit.stages.layout import SuiteLayout

from .conftest import ASSETS, SUITE

Script = Callable[[str], ModuleType]


def test_a_comparison_shows_the_costs_that_are_known(
    evaluated: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Costs are not tracked: a clone has those of the assets that it made itself."""
    score.run(evaluated, SUITE)
    monkeypatch.chdir(evaluated)
    compare, layout = script("compare"), SuiteLayout(Path(), SUITE)
    costs = json.loads(layout.cost.read_text())
    costs["assets"] = {ASSETS[1]: costs["assets"][ASSETS[1]]}
    layout.cost.write_text(json.dumps(costs))
    assert compare._costs(layout, ASSETS) == compare._costs(layout, ASSETS[1:2])
    assert "6" in compare._costs(layout, ASSETS)[0]  # seconds
    assert compare._costs(layout, ASSETS[:1]) == compare._costs(layout, [])
    assert any(compare._costs(layout, ASSETS)[0] in line for line in compare.table(SUITE))


def test_a_planted_fault_of_the_judge_moves_its_features_and_a_row_has_the_asset_s_shape(
    evaluated: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(evaluated)
    faults = script("gate_faults")
    judge = faults.Judge.load()
    images = torch.rand(4, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    before = judge.clip.image_features(images)
    for spoilt in (faults.wrong_mean(judge), faults.wrong_mean(judge, 1.0)):
        assert not torch.allclose(spoilt.clip.image_features(images), before, atol=1e-3)
    assert torch.equal(judge.clip.image_features(images), before)
    row = faults._made_row(judge, SUITE, ASSETS[0], lambda suite, asset: (images, images))
    assert row["prompt"] == "a cyan cone"
    assert [row["metrics"][key] for key in ("iou", "chamfer", "f_score")] == [0.5] * 3


@pytest.mark.parametrize(
    "name", ["compare", "critics", "particles", "study", "readme_images", "prior_colours"]
)
def test_arguments_that_are_missing_show_how_it_is_used(name: str, script: Script) -> None:
    program = script(name)
    for arguments in ((), ("guidance", "picture", "x.png", "y", "z")):
        with pytest.raises(SystemExit, match=rf"python scripts/{name}\.py"):
            program.main(*arguments)
