"""The embedded world trained from scratch by real DVC, with tiny networks and a few renders.

The tests share one clone, in their order: each edits something and leaves all up to date.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from dreamfusion_kit.recipe.load import load_yaml

from .conftest import ROOT, WEIGHTS, Clone, contents, copy_of

pytestmark = pytest.mark.pipeline

PARAMS = "toybox/params.yaml"
REPRO = ("--cd", "toybox", "repro")
STAGE = re.compile(r"Running stage '([^']+)'")
SIZE_PX = 16
CLIP_STEPS = 300  # enough to be killed on the way
FEW_STEPS = {"num_steps": 3, "batch_size": 4, "warmup_steps": 1, "decay_steps": 1}
TINY: dict[str, dict[str, Any]] = {
    "dataset": {"images_per_pair": 1},
    "clip_dataset": {"images_per_pair": 1},
    "prior_shelf": {"shelf_size": 16},
    "prior": {
        "steps_per_shelf": 2,
        "block_out_channels": [16, 16],
        "attention_levels": [1],
        "text_width": 16,
        "text_layers": 1,
    },
    "clip": {
        "num_steps": CLIP_STEPS,
        "width": 16,
        "layers": 1,
        "embedding_size": 16,
        "checkpoint_every_steps": 10,
    },
    "view": {"channels": [8]},
    "shelf": {"shelf_size": 16},
    "vae": {"block_out_channels": [8, 8], "steps_per_shelf": 2},
    "latent": {
        "steps_per_shelf": 2,
        "block_out_channels": [16, 16],
        "attention_levels": [1],
        "num_heads": 2,
    },
    "flow": {"steps_per_shelf": 2, "num_layers": 1, "num_heads": 2, "head_width": 8},
    "multi_view": {"objects_per_shelf": 2, "backgrounds_per_object": 1, "steps_per_shelf": 2},
}
ALL = [
    "render",
    "train-clip",
    "train-flow",
    "train-latent",
    "train-multiview",
    "train-prior",
    "train-vae",
    "train-view",
    "evaluate",
]
LAST = [name for name in ALL if name not in ("render", "train-prior", "train-vae", "evaluate")]


def tiny_settings() -> dict[str, Any]:
    """Return the shipped settings with everything small."""
    settings = load_yaml(ROOT / PARAMS).data
    for name, section in settings.items():
        if "camera" in section:
            section["camera"]["image_size_px"] = SIZE_PX
        section |= (FEW_STEPS if "num_steps" in section else {}) | TINY[name]
    return settings


def change(clone: Clone, section: str, **settings: object) -> None:
    path = clone.path / PARAMS
    data = json.loads(path.read_text())
    data[section] |= settings
    path.write_text(json.dumps(data, indent=1))


def stages_run(output: str) -> list[str]:
    return STAGE.findall(output)


@pytest.fixture(scope="module")
def clone(sources: Path, kit_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """Return a workspace with the toybox's own project, where nothing has been trained."""
    clone = copy_of(sources, kit_program, tmp_path_factory.mktemp("toybox"))
    for name in ("dvc.yaml", ".dvcignore", ".dvc/config"):
        target = clone.path / "toybox" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "toybox" / name, target)
    (clone.path / PARAMS).write_text(json.dumps(tiny_settings(), indent=1))
    clone.kit("sync")
    clone.commit()
    return clone


def test_no_other_project_s_command_begins_a_training(clone: Clone) -> None:
    """What DVC knows from outside are the suite's stages, also with all pipelines."""
    for command in (
        ["stage", "list", "--all"],
        ["status"],
        ["repro", "--dry", "--all-pipelines", "--keep-going"],  # `embed` lacks its dependencies
    ):
        done = clone.call(sys.executable, "-m", "dvc", *command)
        assert "kit" in done.stdout, done.stderr
        assert "train-" not in done.stdout + done.stderr
    done = clone.call(sys.executable, "-m", "dvc", "repro", "--dry", "toybox/dvc.yaml")
    assert done.returncode != 0
    assert "is dvc-ignored" in done.stderr


def test_one_command_makes_everything_in_order(clone: Clone) -> None:
    """Here without the measurement at the end, whose samples take as long as the trainings."""
    order = stages_run(clone.dvc(*REPRO, *LAST))
    assert sorted([*order, "evaluate"]) == sorted(ALL)
    for later, earlier in [
        ("train-clip", "render"),
        ("train-view", "render"),
        ("train-latent", "train-vae"),
        ("train-latent", "train-prior"),
        ("train-flow", "train-vae"),
        ("train-flow", "train-prior"),
        ("train-multiview", "train-latent"),
    ]:
        assert order.index(earlier) < order.index(later)
    for name in ("prior", "clip", "view", "latent/vae", "latent/unet", "flow", "multiview"):
        assert list((clone.path / WEIGHTS / name).rglob("*.safetensors")), name
    assert stages_run(clone.dvc(*REPRO, "--dry")) == ["evaluate"]


def test_a_setting_retrains_its_model_and_its_readers_alone(clone: Clone) -> None:
    before = contents(clone.path / WEIGHTS)
    change(clone, "latent", num_steps=4)
    assert stages_run(clone.dvc(*REPRO, *LAST)) == ["train-latent", "train-multiview"]
    after = contents(clone.path / WEIGHTS)
    changed = {name for name in before if before[name] != after[name]}
    unet = "latent/unet/diffusion_pytorch_model.safetensors"
    assert changed == {unet, "multiview/multi_view.safetensors"}


def test_other_code_is_refused_before_it_trains(clone: Clone) -> None:
    """Not recorded under the digest of the code that kit.json still names."""
    clone.edit("dreamfusion_kit/toybox/flow_model.py", r"\Z", "\nADDED = 1\n")
    done = clone.call(sys.executable, "-m", "dvc", *REPRO, "--force", "--single-item", "train-flow")
    assert done.returncode != 0
    assert "code.toybox_train_flow is not the digest" in done.stderr
    clone.edit("dreamfusion_kit/toybox/flow_model.py", r"\nADDED = 1\n\Z", "")


@pytest.mark.skipif(os.name != "posix", reason="kills a group of processes")
def test_a_killed_training_resumes_and_ends_in_the_bytes_of_an_unbroken_one(clone: Clone) -> None:
    unbroken = contents(clone.path / WEIGHTS / "clip")
    clone.kit("scratch", "clear")
    weights = clone.path / WEIGHTS / "clip" / "model.safetensors"
    weights.write_bytes(b"older")
    _kill_after(clone, steps=CLIP_STEPS // 4)
    assert weights.read_bytes() == b"older"  # in use until the training ends
    done = clone.call(sys.executable, "-m", "dvc", *REPRO, "--single-item", "train-clip")
    assert done.returncode == 0, done.stderr
    assert f"clip: step {CLIP_STEPS}/{CLIP_STEPS}" in done.stderr
    assert f"clip: step {CLIP_STEPS // 4}/{CLIP_STEPS}" not in done.stderr
    assert contents(clone.path / WEIGHTS / "clip") == unbroken


def _kill_after(clone: Clone, *, steps: int) -> None:
    """Start the CLIP's training, and kill DVC and its stage after a given number of saved steps."""
    with subprocess.Popen(
        [sys.executable, "-m", "dvc", *REPRO, "--force", "--single-item", "train-clip"],
        cwd=clone.path,
        env=clone.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as dvc:
        while _steps_saved(clone) < steps:
            assert dvc.poll() is None, "it ended before it could be killed"
            time.sleep(0.02)
        os.killpg(dvc.pid, signal.SIGKILL)
    assert _steps_saved(clone) < CLIP_STEPS


def _steps_saved(clone: Clone) -> int:
    """Return the step of the CLIP's checkpoint, 0 where there is none yet."""
    for path in (clone.path / ".work").glob("toybox-clip-*/clip.safetensors"):
        with safe_open(path, framework="pt") as file:
            return int(file.metadata()["step"])
    return 0
