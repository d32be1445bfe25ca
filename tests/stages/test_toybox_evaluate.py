"""The stages of the embedded world: DVC knows their code."""

from pathlib import Path
from typing import get_args

import pytest

from dreamfusion_kit.identity.stage_name import CodeName
from dreamfusion_kit.recipe.load import load_yaml

TOYBOX = Path(__file__).parents[2] / "toybox"
STAGES = load_yaml(TOYBOX / "dvc.yaml").data["stages"]


@pytest.mark.parametrize(("stage", "code"), [("render", "toybox"), ("evaluate", "toybox_evaluate")])
def test_dvc_knows_the_code_that_the_results_come_from(stage: str, code: str) -> None:
    """What the digest covers is for tests/identity."""
    assert code in get_args(CodeName)
    keys = [key for entry in STAGES[stage]["params"] for key in entry.get("../kit.json", [])]
    assert keys == [f"code.{code}"]


@pytest.mark.parametrize("stage", STAGES)
def test_every_file_that_a_stage_depends_on_is_there(stage: str) -> None:
    section = STAGES[stage]
    listed = [*section.get("deps", []), *(name for entry in section["params"] for name in entry)]
    assert [name for name in listed if not (TOYBOX / name).exists()] == []
