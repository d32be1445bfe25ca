"""Models are pinned by the hash of each file; a later change of one is noticed."""

import hashlib
import json
from pathlib import Path

import pytest

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.stages import fetch, models
from dreamfusion_kit.stages.layout import CLIP

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
    assert models.locked_directory(source, lock, workspace) == workspace / WEIGHTS
    model.write_text("[]")
    with pytest.raises(WeightsError, match=r"config\.json"):
        models.locked_directory(source, lock, workspace)
