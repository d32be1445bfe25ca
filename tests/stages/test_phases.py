"""ProlificDreamer's three stages through the real ones, on tiny Stable Diffusion pipelines.

VSD with a phi of another network, then SDS on normals, then VSD on the texture; two particles. And
a second stage with a prior of its own, which reads other texts.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from dreamfusion_kit.errors import DreamFusionKitError, RecipeError
from dreamfusion_kit.optimize.metrics import StepMetrics
from dreamfusion_kit.priors.text import load_text
from dreamfusion_kit.recipe.resolved import resolve
from dreamfusion_kit.stages import embed, fetch, mesh, optimize, refine
from dreamfusion_kit.stages.layout import SuiteLayout
from dreamfusion_kit.workspace import edit
from dreamfusion_kit.workspace.init import init

from ..priors.conftest import build_unet, make_if, stable_diffusion  # noqa: TID252
from ..priors.sections import PIXELS, UNET  # noqa: TID252

__all__ = ["make_if", "stable_diffusion"]

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]
GEOMETRY, TEXTURE = 3, 4
DEFAULT, NAME = "default", "pineapple"
SMALL = {"checkpoint_every_steps": 2, "preview_every_steps": 2}


class Stops:
    """A monitor that raises after some steps in all."""

    def __init__(self, after: int) -> None:
        self.after = after

    def start(self, history: Sequence[StepMetrics], num_steps: int) -> None: ...

    def step(self, step: int, metrics: StepMetrics) -> None:
        if step + 1 == self.after:
            raise KeyboardInterrupt

    def note(self, message: str) -> None: ...

    def finish(self) -> None: ...


def _recipe(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "recipes" / f"{name}.yaml").read_text())


def _local(path: str, keys: dict[str, Any]) -> dict[str, Any]:
    listed = {
        key: list(value) if isinstance(value, tuple) else value for key, value in keys.items()
    }
    return {"source": {"kind": "local", "path": path}, **listed}


def _shrunk(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe for seconds: its stages, guidances and phases stay."""
    grid = {
        **{"num_levels": 2, "log2_table_size": 8, "min_resolution": 4, "max_resolution": 8},
        "hidden_width": 8,
    }
    recipe["camera"] |= {"image_size_px": {"sizes": [[0, 8], [2, 16]]}}
    recipe["renderer"] |= {"num_samples": 16}
    recipe["optimize"] |= {"num_steps": 4, **SMALL}
    recipe["optimize"]["learning_rate_decay"] |= {"warmup_steps": 1}
    levels = {"initial_levels": 2, "level_every_steps": 1}
    hashed = recipe["field"] | grid | levels
    recipe["field"] = {"kind": "particles", "count": 2, "particle": hashed}
    recipe["mesh"] |= {"grid_resolution": 24, "max_faces": 500, "texture_size_px": 64}
    recipe["mesh"] |= {"formats": ["glb", "obj"]}
    section = recipe["refine"]
    section["representation"] |= {"resolution": 12}
    if section["texture"]["kind"] == "hash_grid":
        section["texture"] |= grid
    else:
        section["texture"] |= {"resolution": 8}
    for phase, steps in zip(section["phases"], (GEOMETRY, TEXTURE), strict=False):
        phase["camera"] |= {"image_size_px": 16}
        phase["optimize"] |= {"num_steps": steps, **SMALL}
        phase["optimize"]["learning_rate_decay"] |= {"warmup_steps": 0}
    return recipe


def _workspace(root: Path, recipe: dict[str, Any], **models: Path) -> Path:
    workspace = root / "here"
    init(workspace, "toybox-smoke")
    for name, directory in models.items():
        shutil.copytree(directory, workspace / "models" / name)
    (workspace / "recipes" / "tiny.yaml").write_text(json.dumps(recipe))
    edit.add(workspace, DEFAULT, NAME, prompt="a", recipe="tiny", seed=1)
    return workspace


@pytest.fixture(scope="module")
def other_network(stable_diffusion: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a U-Net and a scheduler alone, which predicts v."""
    folder = tmp_path_factory.mktemp("other") / "model"
    torch.manual_seed(7)
    build_unet(4, 4, 8).save_pretrained(folder / "unet")
    shutil.copytree(stable_diffusion / "scheduler", folder / "scheduler")
    shutil.copy(stable_diffusion / "model_index.json", folder)
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prediction_type": "v_prediction"}))
    return folder


@pytest.fixture(scope="module")
def prolific(
    stable_diffusion: Path, other_network: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return a workspace with an asset up to its coarse mesh."""
    recipe = _shrunk(_recipe("prolificdreamer"))
    recipe["prior"] = _local("models/prior", UNET)
    source = {"kind": "local", "path": "models/phi"}
    for guidance in (recipe["guidance"], recipe["refine"]["phases"][1]["guidance"]):
        guidance["phi"] |= {"source": source}
    root = tmp_path_factory.mktemp("prolific")
    workspace = _workspace(root, recipe, prior=stable_diffusion, phi=other_network)
    fetch.run(workspace, DEFAULT, "tiny")
    for stage in (embed, optimize, mesh):
        stage.run(workspace, DEFAULT, NAME, CPU)
    return workspace


def _results(workspace: Path) -> dict[str, bytes]:
    folder = SuiteLayout(workspace, DEFAULT).asset(NAME).refined
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _scratch(workspace: Path) -> list[Path]:
    """Return the folders of runs that did not finish."""
    return [path for path in (workspace / ".work").iterdir() if path.is_dir()]


def test_three_stages_are_made_and_resume_to_the_byte_wherever_they_are_killed(
    prolific: Path,
) -> None:
    refine.run(prolific, DEFAULT, NAME, CPU)
    whole = _results(prolific)
    names = [f"previews/step_{step:06d}.png" for step in (2, 3, 5, 7)]
    assert [name for name in whole if name.startswith("previews/")] == names
    rows = whole["trace/digests.tsv"].decode().splitlines()[1:]
    assert len(rows) == GEOMETRY + TEXTURE
    curve = whole["live/plots/metrics/opacity.tsv"].decode().splitlines()[1:]
    assert [int(line.split("\t")[0]) for line in curve] == list(range(GEOMETRY + TEXTURE))
    for after in (1, GEOMETRY, GEOMETRY + 1, GEOMETRY + TEXTURE):
        with pytest.raises(KeyboardInterrupt):
            refine.run(prolific, DEFAULT, NAME, CPU, also=(Stops(after),))
        assert _scratch(prolific)
        refine.run(prolific, DEFAULT, NAME, CPU)
        assert _results(prolific) == whole
        assert not _scratch(prolific)


def test_the_lock_pins_both_networks_and_a_changed_one_is_refused(
    prolific: Path, tmp_path: Path
) -> None:
    workspace = shutil.copytree(prolific, tmp_path / "copy")
    lock = json.loads((workspace / "out" / "model" / "tiny.json").read_text())
    phi = {name for name in lock if name.startswith("@guidance.phi/")}
    assert "@guidance.phi/unet/diffusion_pytorch_model.safetensors" in phi
    assert "unet/diffusion_pytorch_model.safetensors" in lock
    later = {name for name in lock if name.startswith("@refine.phases[1].guidance.phi/")}
    assert len(later) == len(phi)
    weights = workspace / "models" / "phi" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    with pytest.raises(DreamFusionKitError, match=r"diffusion_pytorch_model\.safetensors"):
        optimize.run(workspace, DEFAULT, NAME, CPU)


def test_fetch_refuses_a_phi_that_does_not_fit_the_prior(prolific: Path, tmp_path: Path) -> None:
    workspace = shutil.copytree(prolific, tmp_path / "copy")
    path = workspace / "models" / "phi" / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"beta_end": 0.02}))
    with pytest.raises(RecipeError, match=r"^guidance\.phi\.source: found alpha_bar"):
        fetch.run(workspace, DEFAULT, "tiny")


def test_a_second_stage_asks_a_prior_of_its_own_with_texts_of_its_own(
    stable_diffusion: Path, make_if: Path, tmp_path: Path
) -> None:
    recipe = _shrunk(_recipe("magic3d"))
    pixels = {**PIXELS, "source": {"kind": "local", "path": "models/first"}}
    recipe["prior"] = pixels
    recipe["refine"]["prior"] = _local("models/second", UNET)
    recipe["refine"]["phases"][0]["guidance"] |= {"negative_prompt": "a robot"}
    workspace = _workspace(tmp_path, recipe, first=make_if, second=stable_diffusion)
    fetch.run(workspace, DEFAULT, "tiny")
    lock = json.loads((workspace / "out" / "model" / "tiny.json").read_text())
    assert "@refine.prior/vae/diffusion_pytorch_model.safetensors" in lock
    assert "vae/diffusion_pytorch_model.safetensors" not in lock
    for stage in (embed, optimize, mesh, refine):
        stage.run(workspace, DEFAULT, NAME, CPU)
    own = SuiteLayout(workspace, DEFAULT).asset(NAME)
    first, prompts = load_text(own.text)
    key = resolve(workspace, DEFAULT, NAME).recipe.text_keys[1]
    second, later = load_text(own.text, key)
    assert (prompts["negative"], later["negative"]) == ("", "a robot")
    assert first.tensors.keys() != second.tensors.keys() or any(
        first.tensors[name].shape != second.tensors[name].shape for name in first.tensors
    )
    assert (own.refined / "mesh.glb").is_file()
