"""Models are pinned by the hash of each file; a later change of one is noticed."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch

from dreamfusion_kit.errors import DreamFusionKitError, RecipeError, WeightsError
from dreamfusion_kit.recipe import yaml_text
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.stages import fetch, judging, locked
from dreamfusion_kit.stages.layout import CLIP, SuiteLayout

from .conftest import SUITE

ROOT = Path(__file__).parents[2]
WEIGHTS = Path("dreamfusion_kit/toybox/weights/clip")
PRIOR = Path("dreamfusion_kit/toybox/weights/prior")


@pytest.fixture
def model(workspace: Path) -> Path:
    """Return one file of the workspace's CLIP."""
    shutil.copytree(ROOT / WEIGHTS, workspace / WEIGHTS)
    return workspace / WEIGHTS / "config.json"


def test_the_lock_holds_each_file_s_hash(workspace: Path, model: Path) -> None:
    lock = json.loads(fetch.run(workspace, SUITE, CLIP).read_text())
    assert lock == {
        path.name: {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "size_bytes": path.stat().st_size,
        }
        for path in model.parent.iterdir()
    }


def test_a_prior_without_files_has_an_empty_lock(workspace: Path) -> None:
    assert json.loads(fetch.run(workspace, "default", "analytic").read_text()) == {}


def test_a_file_that_changed_since_is_refused(workspace: Path, model: Path) -> None:
    lock = fetch.run(workspace, SUITE, CLIP)
    source = load_suite(workspace, SUITE).evaluation.clip
    assert locked.locked_directory(source, lock, workspace) == workspace / WEIGHTS
    model.write_text("[]")
    with pytest.raises(WeightsError, match=r"config\.json"):
        locked.locked_directory(source, lock, workspace)


def test_several_judges_share_a_lock(workspace: Path, model: Path) -> None:
    other = Path(shutil.copytree(model.parent, workspace / "models" / "other"))
    params = workspace / "params.yaml"
    data = yaml_text.parse(params.read_text(), "params.yaml").data
    data["evaluation"]["clip"] = [
        {"name": "main", "source": {"kind": "local", "path": str(WEIGHTS)}},
        {"name": "other", "source": {"kind": "local", "path": "models/other"}},
    ]
    params.write_text(yaml_text.dump(data))
    lock_path = fetch.run(workspace, "default", CLIP)
    lock = json.loads(lock_path.read_text())
    names = {path.name for path in other.iterdir()}
    assert set(lock) == {f"{part}/{name}" for part in ("main", "other") for name in names}
    suite = load_suite(workspace, "default")
    layout = SuiteLayout(workspace, "default")
    judges = judging.load_judges(suite, layout, "a red ball", None, torch.device("cpu"))
    assert {name: judge.name for name, judge in judges.items()} == {
        "main": str(WEIGHTS),
        "other": "models/other",
    }
    edit(other / "config.json", changed=True)  # only the other one, and it is noticed
    source = suite.evaluation.judges["other"]
    main = suite.evaluation.judges["main"]
    assert locked.locked_directory(main, lock_path, workspace, part="main") == model.parent
    with pytest.raises(WeightsError, match=r"config\.json"):
        locked.locked_directory(source, lock_path, workspace, part="other")


# ---- a model's own files


@pytest.fixture
def prior(workspace: Path) -> Path:
    """Return the directory of the toybox's prior in the workspace."""
    return Path(shutil.copytree(ROOT / PRIOR, workspace / PRIOR))


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("unet/config.json", {"in_channels": 9}),
        ("unet/config.json", {"in_channels": -12}),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": 10**9}),
        ("text_encoder/config.json", {"num_hidden_layers": 100_000}),
        ("text_encoder/config.json", {"vocab_size": 100}),
    ],
)
def test_a_prior_that_cannot_be_read_has_no_lock(
    workspace: Path, prior: Path, file: str, changes: dict[str, object]
) -> None:
    edit(prior / file, **changes)
    with pytest.raises(DreamFusionKitError) as caught:
        fetch.run(workspace, SUITE, "toybox")
    assert len(str(caught.value).splitlines()) == 1
    assert not SuiteLayout(workspace, SUITE).model("toybox").exists()


def test_a_judge_that_cannot_be_read_has_no_lock(workspace: Path, model: Path) -> None:
    edit(model, model_type="bert")
    with pytest.raises(WeightsError, match=r"^clip/config\.json: model_type is 'bert'"):
        fetch.run(workspace, SUITE, CLIP)
    assert not SuiteLayout(workspace, SUITE).model(CLIP).exists()


def test_a_guidance_that_divides_by_no_signal_is_refused(workspace: Path, prior: Path) -> None:
    recipe = workspace / "recipes" / "toybox.yaml"
    data = yaml_text.parse(recipe.read_text(), "toybox.yaml").data
    data["guidance"] |= {"timestep_weight": "sigma_over_alpha", "timestep_max": 1.0}
    recipe.write_text(yaml_text.dump(data))
    fetch.run(workspace, SUITE, "toybox")  # alpha_t is small at the end, and not 0
    edit(prior / "scheduler" / "scheduler_config.json", rescale_betas_zero_snr=True)
    with pytest.raises(RecipeError, match=r"^guidance\.timestep_max: .*no signal left"):
        fetch.run(workspace, SUITE, "toybox")
