"""Models are pinned by the hash of each file; a later change of one is noticed."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.stages import fetch, models
from dreamfusion_kit.stages.layout import CLIP

from .conftest import SUITE

ROOT = Path(__file__).parents[2]
WEIGHTS = Path("dreamfusion_kit/toybox/weights/clip")


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
    assert models.locked_directory(source, lock, workspace) == workspace / WEIGHTS
    model.write_text("[]")
    with pytest.raises(WeightsError, match=r"config\.json"):
        models.locked_directory(source, lock, workspace)
