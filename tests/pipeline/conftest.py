"""A clone of the workspace with a tiny suite, run once by real DVC."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from dreamfusion_kit.recipe.load import load_yaml
from dreamfusion_kit.toybox.clip_model import ToyboxClip
from dreamfusion_kit.toybox.settings import ClipTrainingSection
from dreamfusion_kit.toybox.view_model import ViewModel

ROOT = Path(__file__).parents[2]
TOOLS = ("cli.py", "params.yaml", "dvc.yaml", "recipes", "dreamfusion_kit", ".dvc/config")
ASSETS = ("first", "second")


@dataclass(frozen=True)
class Clone:
    """A workspace of its own."""

    path: Path

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the kit's own interpreter in the clone."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.path,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    def repro(self, *targets: str) -> set[str]:
        """Run `dvc repro`; return the names of the stages that ran."""
        done = self.call("-m", "dvc", "repro", *targets)
        assert done.returncode == 0, done.stdout + done.stderr
        return set(re.findall(r"Running stage '([^']+)'", done.stdout))

    def replace(self, file: str, old: str, new: str) -> None:
        """Edit a file of the clone as a user would."""
        path = self.path / file
        text = path.read_text()
        assert text.count(old) == 1, f"{file}: {old!r} stands there {text.count(old)} times"
        path.write_text(text.replace(old, new))


def environment() -> dict[str, str]:
    """Return this process's environment with its interpreter first, as `python` in dvc.yaml."""
    folder = str(Path(sys.executable).parent)
    return os.environ | {
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "DVC_NO_ANALYTICS": "1",
    }


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """Return a workspace whose two tiny assets were made by `dvc repro`."""
    path = tmp_path_factory.mktemp("clone")
    for name in TOOLS:
        _copy(ROOT / name, path / name)
    (path / "README.md").write_text("# A workspace\n")
    _write_suite(path)
    _write_clip(path / "judge")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "start"]):
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", *identity, *command], cwd=path, check=True, capture_output=True)
    made = Clone(path)
    ran = made.repro()
    assert {f"optimize@{asset}" for asset in ASSETS} <= ran
    return made


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        ignored = shutil.ignore_patterns("__pycache__", "weights")
        shutil.copytree(source, target, ignore=ignored)
    else:
        shutil.copy(source, target)


def _write_suite(path: Path) -> None:
    """Write params.yaml: two prompts on the analytic prior, a small exam by a small judge."""
    exam = load_yaml(ROOT / "params.yaml").data["evaluation"]
    exam["clip"]["path"] = "judge"
    exam["views"] |= {"num_azimuths": 2, "image_size_px": 32, "supersampling": 1}
    exam["turntable"] |= {"num_frames": 3, "image_size_px": 32}
    exam["geometry"] |= {"num_points": 500, "surface_resolution": 24, "iou_resolution": 16}
    prompts = {"first": "a red mug", "second": "a wooden horse"}
    assets = {
        asset: {"prompt": prompt, "recipe": "analytic", "seed": 0, "overrides": {}}
        for asset, prompt in prompts.items()
    }
    blocks = [
        "suite: default",
        "recipes: [analytic]",
        "assets:",
        *(f"  {asset}: {json.dumps(entry)}" for asset, entry in assets.items()),
        f"evaluation: {json.dumps(exam, indent=2)}",
    ]
    (path / "params.yaml").write_text("\n".join(blocks) + "\n")
    ViewModel((8,), seed=0).save(path / "dreamfusion_kit" / "toybox" / "weights" / "view")


def _write_clip(directory: Path) -> None:
    settings = ClipTrainingSection.model_validate_json(
        json.dumps(
            {
                "seed": 0,
                "num_steps": 1,
                "batch_size": 1,
                "learning_rate": 0.001,
                "warmup_steps": 1,
                "decay_steps": 1,
                "weight_decay": 0.0,
                "checkpoint_every_steps": 1,
                "background": {"kind": "constant", "color": [0.5, 0.5, 0.5]},
                "width": 16,
                "layers": 1,
                "image_patch_px": 8,
                "embedding_size": 16,
            }
        )
    )
    ToyboxClip(settings, 32).save_pretrained(directory)
