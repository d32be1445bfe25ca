"""Models are pinned by the hash of each file; a later change of one is noticed."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from dreamfusion_kit.errors import RecipeError, WeightsError
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.stages import fetch, locked
from dreamfusion_kit.stages.layout import CLIP, SuiteLayout

from .conftest import SUITE

WEIGHTS = Path("dreamfusion_kit/toybox/weights/clip")


@pytest.fixture
def model(workspace: Path) -> Path:
    """Return the one file of the workspace's CLIP."""
    path = workspace / WEIGHTS / "config.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    return path


def test_the_lock_holds_each_file_s_hash(workspace: Path, model: Path) -> None:
    lock = json.loads(fetch.run(workspace, SUITE, CLIP).read_text())
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    assert lock == {"config.json": {"sha256": digest, "size_bytes": 2}}


def test_a_prior_without_files_has_an_empty_lock(workspace: Path) -> None:
    assert json.loads(fetch.run(workspace, "default", "analytic").read_text()) == {}


def test_a_file_that_changed_since_is_refused(workspace: Path, model: Path) -> None:
    lock = fetch.run(workspace, SUITE, CLIP)
    source = load_suite(workspace, SUITE).evaluation.clip
    assert source is not None
    assert locked.locked_directory(source, lock, workspace) == workspace / WEIGHTS
    model.write_text("[]")
    with pytest.raises(WeightsError, match=r"config\.json"):
        locked.locked_directory(source, lock, workspace)


def test_a_suite_without_a_judge_has_an_empty_lock(workspace: Path) -> None:
    params = workspace / "params.yaml"
    before, _, after = params.read_text().partition("  clip:\n")
    params.write_text(before + "  clip: null\n" + after.split("\n", 2)[2])
    assert json.loads(fetch.run(workspace, SUITE, CLIP).read_text()) == {}


def test_prompts_are_counted_as_soon_as_the_judge_is_here(workspace: Path) -> None:
    """`validate` had no tokenizer to count with; nothing has been optimised yet."""
    shutil.copytree(Path(__file__).parents[2] / WEIGHTS, workspace / WEIGHTS)
    params = workspace / "suites" / SUITE / "params.yaml"
    long = "a squirrel in a leather jacket, riding a motorcycle"
    params.write_text(params.read_text().replace("a red ball", long))
    with pytest.raises(RecipeError, match=r"red_ball\.prompt: .* tokens, expected at most 20"):
        fetch.run(workspace, SUITE, CLIP)
    assert not SuiteLayout(workspace, SUITE).model(CLIP).exists()
