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
    "clip": {"width": 16, "layers": 1, "embedding_size": 16},
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
    "multi_view": {"objects_per_shelf": 2, "steps_per_shelf": 2},
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


def test_one_command_trains_everything_in_order(clone: Clone) -> None:
    ran = stages_run(clone.dvc(*REPRO))
    assert sorted(ran) == sorted(ALL)
    order = {name: ran.index(name) for name in ran}
    for later, earlier in [
        ("train-clip", "render"),
        ("train-view", "render"),
        ("train-latent", "train-vae"),
        ("train-latent", "train-prior"),
        ("train-flow", "train-vae"),
        ("train-multiview", "train-prior"),
        ("evaluate", "train-clip"),
        ("evaluate", "train-view"),
    ]:
        assert order[earlier] < order[later]
    for name in ("prior", "clip", "view", "latent/vae", "latent/unet", "flow", "multiview"):
        assert list((clone.path / WEIGHTS / name).rglob("*.safetensors")), name
    metrics = json.loads((clone.path / "toybox/metrics/toybox-models.json").read_text())
    assert 0 <= metrics["prior"]["guidance_scale_3"]["r_precision"] <= 1
    assert clone.dvc("--cd", "toybox", "status") == "Data and pipelines are up to date.\n"
    assert stages_run(clone.dvc(*REPRO)) == []


def test_a_setting_retrains_its_model_and_its_readers_alone(clone: Clone) -> None:
    before = contents(clone.path / WEIGHTS)
    change(clone, "latent", num_steps=4)
    assert stages_run(clone.dvc(*REPRO)) == ["train-latent"]
    after = contents(clone.path / WEIGHTS)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"latent/unet/diffusion_pytorch_model.safetensors"}


def test_other_code_is_refused_before_it_trains(clone: Clone) -> None:
    """Not recorded under the digest of the code that kit.json still names."""
    clone.edit("dreamfusion_kit/toybox/flow_model.py", r"\Z", "\nADDED = 1\n")
    done = clone.call(sys.executable, "-m", "dvc", *REPRO, "--force", "--single-item", "train-flow")
    assert done.returncode != 0
    assert "code.toybox_train_flow is not the digest" in done.stderr
    clone.edit("dreamfusion_kit/toybox/flow_model.py", r"\nADDED = 1\n\Z", "")


@pytest.mark.skipif(os.name != "posix", reason="kills a group of processes")
def test_a_killed_training_resumes_and_ends_in_the_bytes_of_an_unbroken_one(clone: Clone) -> None:
    old = contents(clone.path / WEIGHTS / "prior")
    change(clone, "prior", num_steps=120, checkpoint_every_steps=5)
    _kill_after(clone, steps=30)
    assert contents(clone.path / WEIGHTS / "prior") == old  # in use until the training ends
    said = clone.call(sys.executable, "-m", "dvc", *REPRO, "train-prior")
    assert said.returncode == 0, said.stderr
    assert "prior: step 120/120" in said.stdout + said.stderr
    assert "prior: step 25/120" not in said.stdout + said.stderr
    resumed = contents(clone.path / WEIGHTS / "prior")
    assert resumed.keys() >= old.keys()
    assert resumed != old

    clone.kit("scratch", "clear")
    again = clone.call(
        sys.executable, "-m", "dvc", *REPRO, "--force", "--single-item", "train-prior"
    )
    assert "prior: step 25/120" in again.stdout + again.stderr
    assert contents(clone.path / WEIGHTS / "prior") == resumed


def _kill_after(clone: Clone, *, steps: int) -> None:
    """Start the prior's training, and kill DVC and its stage once so many steps are saved."""
    with subprocess.Popen(
        [sys.executable, "-m", "dvc", *REPRO, "train-prior"],
        cwd=clone.path,
        env=clone.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as dvc:
        while _steps_saved(clone) not in range(steps, 120):
            assert dvc.poll() is None, "it ended before it could be killed"
            time.sleep(0.05)
        os.killpg(dvc.pid, signal.SIGKILL)


def _steps_saved(clone: Clone) -> int:
    """Return the step of the latest training's checkpoint, 0 where there is none yet."""
    found = list((clone.path / ".work").glob("toybox-prior-*/prior.safetensors"))
    if not found:
        return 0
    with safe_open(max(found, key=lambda path: path.stat().st_mtime_ns), framework="pt") as file:
        return int(file.metadata()["step"])
