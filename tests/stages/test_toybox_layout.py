"""The stages of toybox/dvc.yaml: DVC knows their settings, their code and what they read."""

from pathlib import Path
from typing import get_args

import pytest

from dreamfusion_kit.identity.stage_name import TOYBOX_TRAININGS, ToyboxStage
from dreamfusion_kit.recipe.load import load_yaml
from dreamfusion_kit.stages.toybox_layout import WEIGHTS
from dreamfusion_kit.toybox.settings import ToyboxSettings

TOYBOX = Path(__file__).parents[2] / "toybox"
STAGES = load_yaml(TOYBOX / "dvc.yaml").data["stages"]
CODE = {
    "render": "toybox",
    "train-prior": "toybox_train_prior",
    "train-clip": "toybox_train_clip",
    "train-view": "toybox_train_view",
    "train-vae": "toybox_train_vae",
    "train-latent": "toybox_train_latent",
    "train-flow": "toybox_train_flow",
    "train-multiview": "toybox_train_multi_view",
    "evaluate": "toybox_evaluate",
}


def params(stage: str, file: str) -> list[str]:
    return [key for entry in STAGES[stage]["params"] for key in entry.get(file, [])]


def outs(stage: str) -> list[str]:
    return [out if isinstance(out, str) else next(iter(out)) for out in STAGES[stage]["outs"]]


def test_every_command_is_a_stage() -> None:
    assert set(STAGES) == set(CODE)
    assert set(CODE.values()) == set(get_args(ToyboxStage))
    for stage in STAGES:
        assert STAGES[stage]["cmd"] == f"cd .. && exec dreamfusion-kit toybox {stage}"


@pytest.mark.parametrize("stage", CODE)
def test_dvc_knows_the_code_that_the_results_come_from(stage: str) -> None:
    """What the digest covers is for tests/identity."""
    assert params(stage, "../kit.json") == [f"code.{CODE[stage]}"]


def test_every_setting_reruns_something() -> None:
    read = {key for stage in STAGES for key in params(stage, "params.yaml")}
    assert read == set(ToyboxSettings.model_fields)


@pytest.mark.parametrize("stage", [name for name in CODE if name.startswith("train-")])
def test_trained_weights_stay_in_git_and_in_place(stage: str) -> None:
    """DVC neither caches them nor deletes the old ones before the new ones are written."""
    assert CODE[stage] in TOYBOX_TRAININGS
    for out in STAGES[stage]["outs"]:
        ((path, flags),) = out.items()
        assert path.startswith(f"../{WEIGHTS.as_posix()}/")
        assert flags == {"cache": False, "persist": True}


def test_no_other_project_reaches_a_training() -> None:
    """The folder is a DVC project, and no stage elsewhere depends on the weights by their path."""
    assert (TOYBOX / ".dvc" / "config").is_file()
    others = [TOYBOX.parent / "dvc.yaml", *TOYBOX.parent.glob("suites/**/dvc.yaml")]
    assert len(others) > 10
    assert [path for path in others if "toybox/weights" in path.read_text()] == []


def test_what_a_stage_reads_is_made_by_another() -> None:
    made = {path for stage in STAGES if "outs" in STAGES[stage] for path in outs(stage)}
    for section in STAGES.values():
        for path in section.get("deps", []):
            if "$" not in path:  # a setting names it
                assert path in made
        for entry in section["params"]:
            assert [name for name in entry if not (TOYBOX / name).exists()] == []
