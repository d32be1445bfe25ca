"""From a prompt to a refined, measured and shown mesh, through every stage; small."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
import yaml

from dreamfusion_kit.errors import DreamFusionKitError, RecipeError
from dreamfusion_kit.identity import kit_file
from dreamfusion_kit.recipe.resolved import resolve
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.stages import (
    embed,
    evaluate,
    fetch,
    mesh,
    optimize,
    refine,
    relight,
    report,
    score,
)
from dreamfusion_kit.stages.layout import SuiteLayout
from dreamfusion_kit.suites.plan import plan
from dreamfusion_kit.workspace.init import init

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def refined(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a workspace with one asset, refined in three steps."""
    workspace = tmp_path_factory.mktemp("refined") / "here"
    init(workspace, "toybox-smoke")
    recipe = yaml.safe_load((ROOT / "recipes" / "toybox-smoke.yaml").read_text())
    section = yaml.safe_load((ROOT / "recipes" / "magic3d-toybox.yaml").read_text())["refine"]
    phase = section["phases"][0]
    texts = ("view_prompts", "negative_prompt")
    phase["guidance"] |= {key: recipe["guidance"][key] for key in texts}
    section["representation"] |= {"resolution": 16}
    section["texture"] |= {"resolution": 16}
    phase["optimize"] |= {
        "num_steps": 3,
        "checkpoint_every_steps": 2,
        "preview_every_steps": 2,
    }
    phase["optimize"]["learning_rate_decay"] |= {"warmup_steps": 1}
    path = workspace / "recipes" / "toybox-smoke.yaml"
    path.write_text(json.dumps(recipe | {"refine": section}))
    params = (workspace / "params.yaml").read_text()
    params = params.replace("num_azimuths: 36", "num_azimuths: 4")
    params = params.replace("num_points: 20000", "num_points: 500")
    (workspace / "params.yaml").write_text(params)
    fetch.run(workspace, "default", "toybox-smoke")
    fetch.run(workspace, "default", "clip")
    for stage in (embed, optimize, mesh, refine, evaluate):
        stage.run(workspace, "default", "red_mug", CPU)
    score.run(workspace, "default")
    report.run(workspace, "default")
    return workspace


def test_what_is_measured_and_shown_is_the_refined_mesh(refined: Path) -> None:
    own = SuiteLayout(refined, "default").asset("red_mug")
    names = {path.name for path in own.refined.iterdir()}
    assert {"mesh.glb", "mesh.obj", "red_mug_albedo.png", "mesh.json", "origin.json"} <= names
    assert sorted(path.name for path in (own.refined / "previews").iterdir()) == [
        "step_000002.png",
        "step_000003.png",
    ]
    surface = trimesh.load_mesh(own.refined / "mesh.obj", process=False)
    surface.merge_vertices(merge_tex=True, merge_norm=True)
    assert surface.is_watertight
    assert surface.volume > 0
    assert surface.area_faces.min() > 0
    drawn: Any = trimesh.load_mesh(own.refined / "mesh.glb", process=False)
    sides = np.einsum("fd,fcd->fc", drawn.face_normals, drawn.vertex_normals[drawn.faces])
    assert sides.mean(axis=1).min() > 0  # no face is turned against its normals
    found = json.loads((own.evaluation / "metrics.json").read_text())
    origin = (own.refined / "origin.json").read_bytes()
    assert found["inputs"]["mesh_sha256"] == hashlib.sha256(origin).hexdigest()
    page = (SuiteLayout(refined, "default").report / "index.html").read_text()
    assert "coarse_mesh_sha256" in (own.refined / "mesh.glb").read_bytes().decode(errors="ignore")
    assert "refine" in page
    cost = json.loads(SuiteLayout(refined, "default").cost.read_text())["assets"]["red_mug"]
    parts = [json.loads(own.cost(s).read_text())["seconds"] for s in ("optimize", "mesh", "refine")]
    assert cost["seconds"] == pytest.approx(sum(parts), abs=0.01)


def test_the_refined_mesh_is_relit(refined: Path) -> None:
    own = SuiteLayout(refined, "default").asset("red_mug")
    size = {"image_size_px": 32, "samples_per_pixel": 4, "num_frames": 0}
    (folder,) = relight.run(refined, "default", "red_mug", ["overcast"], **size)
    before = (folder / "still_00.png").read_bytes()
    kept = (own.refined / "mesh.glb").read_bytes()
    shutil.copy(own.mesh / "mesh.glb", own.refined / "mesh.glb")
    with pytest.raises(
        DreamFusionKitError, match=r"refined/red_mug/mesh\.glb: found other content"
    ):
        relight.run(refined, "default", "red_mug", ["overcast"], **size)
    (own.refined / "mesh.glb").write_bytes(kept)
    relight.run(refined, "default", "red_mug", ["overcast"], **size)
    assert (folder / "still_00.png").read_bytes() == before


def test_it_repeats_to_the_byte(refined: Path) -> None:
    own = SuiteLayout(refined, "default").asset("red_mug")
    before = (own.refined / "mesh.glb").read_bytes()
    refine.run(refined, "default", "red_mug", CPU)
    assert (own.refined / "mesh.glb").read_bytes() == before


def test_another_coarse_mesh_or_a_changed_file_is_refused(refined: Path, tmp_path: Path) -> None:
    workspace = shutil.copytree(refined, tmp_path / "copy")
    own = SuiteLayout(workspace, "default").asset("red_mug")
    (own.refined / "mesh.obj").write_text("v 0 0 0\n")
    with pytest.raises(DreamFusionKitError, match=r"mesh\.obj: found other content.*refine stage"):
        evaluate.run(workspace, "default", "red_mug", CPU)
    (own.mesh / "mesh.obj").write_text("v 0 0 0\n")
    with pytest.raises(DreamFusionKitError, match=r"mesh\.obj: found other content.*mesh stage"):
        refine.run(workspace, "default", "red_mug", CPU)


def test_the_plan_has_the_stage_and_a_digest_that_its_keys_change(refined: Path) -> None:
    kit = kit_file.current(refined, "default")
    stages = [s.stage for s in plan(refined, load_suite(refined, "default"), kit).assets[0].stages]
    assert stages == ["embed", "optimize", "mesh", "refine", "evaluate"]
    path = refined / "recipes" / "toybox-smoke.yaml"
    text = path.read_text()
    path.write_text(text.replace('"supersampling": 2', '"supersampling": 1'))
    after = kit_file.current(refined, "default").suite["assets"]["red_mug"]
    path.write_text(text)
    before = kit.suite["assets"]["red_mug"]
    assert {stage for stage in before if before[stage] != after[stage]} == {"mesh", "refine"}


def test_a_recipe_without_a_refinement_is_named(made: Path) -> None:
    assert resolve(made, "default", "mug").recipe.refine is None
    with pytest.raises(RecipeError, match="mug: found refine: null in its recipe analytic"):
        refine.run(made, "default", "mug", CPU)
