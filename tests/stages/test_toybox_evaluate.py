"""The stage that measures the toybox's own models."""

from pathlib import Path

import grimp

from dreamfusion_kit.recipe.load import load_yaml
from dreamfusion_kit.stages import pipeline

ROOT = Path(__file__).parents[2]


def test_dvc_knows_the_code_that_the_measures_come_from() -> None:
    stages = load_yaml(ROOT / "toybox" / "dvc.yaml").data["stages"]
    listed = tuple(stages["evaluate"]["deps"])
    code = pipeline.closure("toybox_evaluate", grimp.build_graph(pipeline.PACKAGE))
    assert [path for path in code if not path.startswith(listed)] == []
