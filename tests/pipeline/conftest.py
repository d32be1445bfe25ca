"""Clones of the workspace with a tiny suite, for real DVC."""

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
from dreamfusion_kit.workspace import shipped

ROOT = Path(__file__).parents[2]
FILES = (
    "recipes",
    "protocols",
    "dreamfusion_kit",
    ".dvc/config",
    ".dvcignore",
    ".gitignore",
)
ASSETS = ("first", "second")
ASSET_STAGES = ("embed", "optimize", "mesh", "evaluate")
WEIGHTS = Path("dreamfusion_kit/toybox/weights")

KIT_PROGRAM = """
from dreamfusion_kit.__main__ import main

main()
"""

_STAGE = re.compile(r"Running stage '([^']+)'")


@dataclass(frozen=True)
class Clone:
    """A workspace of its own, and the folder of the `dreamfusion-kit` that runs its code."""

    path: Path
    programs: Path

    def call(
        self, *command: str, folder: str = ".", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the clone, or in a folder of it."""
        return subprocess.run(
            command,
            cwd=self.path / folder,
            env=self.environment() | variables,
            capture_output=True,
            text=True,
            check=False,
        )

    def environment(self) -> dict[str, str]:
        """Return this process's environment, with the clone's programs and package first."""
        return os.environ | {
            "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.path),
            "OMP_NUM_THREADS": "1",
            "DVC_NO_ANALYTICS": "1",
            "GIT_CONFIG_COUNT": "2",
            "GIT_CONFIG_KEY_0": "user.name",
            "GIT_CONFIG_VALUE_0": "test",
            "GIT_CONFIG_KEY_1": "user.email",
            "GIT_CONFIG_VALUE_1": "test@example.org",
        }

    def run(self, *command: str, folder: str = ".") -> str:
        """Run a command that has to succeed; return what it printed."""
        done = self.call(*command, folder=folder)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def kit(self, *arguments: str, folder: str = ".") -> str:
        """Run a command of the kit that has to succeed; return what it printed."""
        return self.run("dreamfusion-kit", *arguments, folder=folder)

    def dvc(self, *arguments: str, folder: str = ".") -> str:
        """Run a command of DVC that has to succeed; return what it printed."""
        return self.run(sys.executable, "-m", "dvc", *arguments, folder=folder)

    def repro(self, *targets: str, folder: str = ".") -> set[str]:
        """Run `dvc repro`; return the names of the stages that ran, but for `kit`."""
        return set(_STAGE.findall(self.dvc("repro", *targets, folder=folder))) - {"kit"}

    def commit(self) -> None:
        """Commit everything that Git does not ignore."""
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "-m", "as it is now")

    def edit(self, file: str, pattern: str, new: str) -> None:
        """Replace the one place in a file that matches `pattern`."""
        path = self.path / file
        text, count = re.subn(pattern, new, path.read_text(), flags=re.MULTILINE)
        assert count == 1, f"{file}: {pattern!r} stands there {count} times"
        path.write_text(text)


def stages(*assets: str, suite: str = "") -> set[str]:
    """Return the names of the default suite's stages of `assets`."""
    return {f"{suite}{stage}@{asset}" for stage in ASSET_STAGES for asset in assets}


def contents(directory: Path) -> dict[str, bytes]:
    """Return every file of a folder by its path in it."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a workspace as Git has it, with two assets, small judges and a small protocol."""
    path = tmp_path_factory.mktemp("sources")
    for name in FILES:
        _copy(ROOT / name, path / name)
    for folder in (ROOT / WEIGHTS).iterdir():  # the digest of fetch's code covers what is in them
        (path / WEIGHTS / folder.name).mkdir(parents=True)
        (path / WEIGHTS / folder.name / "config.json").write_text("{}")
    ViewModel((8,), seed=0).save(path / WEIGHTS / "view")
    _write_clip(path / "judge")
    _write_params(path)
    (path / "dvc.yaml").write_text(shipped.pipeline("  - recipes/analytic.yaml\n"))
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "start"]):
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", *identity, *command], cwd=path, check=True, capture_output=True)
    return path


@pytest.fixture(scope="session")
def kit_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the `dreamfusion-kit` that an installation writes."""
    return _program(tmp_path_factory.mktemp("programs"), KIT_PROGRAM)


@pytest.fixture(scope="session")
def stand_in_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a `dreamfusion-kit` whose stages cost nothing."""
    text = Path(__file__).with_name("stand_in.py").read_text()
    return _program(tmp_path_factory.mktemp("programs"), text)


@pytest.fixture(scope="session")
def made(sources: Path, kit_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """Return a workspace whose two tiny assets were made by `dvc repro`."""
    return _repro_once(copy_of(sources, kit_program, tmp_path_factory.mktemp("made")))


@pytest.fixture(scope="session")
def quick(sources: Path, stand_in_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """Return a workspace whose two assets were made by `dvc repro` of stages that cost nothing."""
    return _repro_once(copy_of(sources, stand_in_program, tmp_path_factory.mktemp("quick")))


def copy_of(sources: Path, programs: Path, folder: Path) -> Clone:
    """Return a clone of `sources` in `folder`."""
    path = folder / "clone"
    subprocess.run(["git", "clone", "-q", str(sources), str(path)], check=True)
    return Clone(path, programs)


def _repro_once(clone: Clone) -> Clone:
    ran = clone.repro()
    assert stages(*ASSETS) <= ran, ran
    clone.commit()
    return clone


def _program(folder: Path, text: str) -> Path:
    path = folder / "dreamfusion-kit"
    path.write_text(f"#!{sys.executable}\n{text}")
    path.chmod(0o755)
    return folder


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        ignored = shutil.ignore_patterns("__pycache__", "weights")
        shutil.copytree(source, target, ignore=ignored)
    else:
        shutil.copy(source, target)


def _write_params(path: Path) -> None:
    """Write params.yaml: two prompts on the analytic prior, a small protocol, a small judge."""
    protocol = load_yaml(ROOT / "params.yaml").data["evaluation"]
    protocol["clip"] = {"kind": "local", "path": "judge"}
    protocol["views"] |= {"num_azimuths": 2, "image_size_px": 32, "supersampling": 1}
    protocol["turntable"] |= {"num_frames": 3, "image_size_px": 32}
    protocol["geometry"] |= {"num_points": 500, "surface_resolution": 24, "iou_resolution": 16}
    prompts = {"first": "a red mug", "second": "a wooden horse"}
    lines = ["suite: default", "recipes: [analytic]", "assets:"]
    for asset, prompt in prompts.items():
        lines += [f"  {asset}:", f"    prompt: {prompt}", "    recipe: analytic"]
        lines += ["    seed: 0", "    overrides: {}"]
    lines.append(f"evaluation: {json.dumps(protocol, indent=2)}")
    (path / "params.yaml").write_text("\n".join(lines) + "\n")


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
