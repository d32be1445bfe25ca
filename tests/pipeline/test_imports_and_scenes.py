"""A mesh that others made, and a scene of finished assets, through the command line and DVC."""

import json
import re
import shutil
from pathlib import Path

import pytest
import trimesh
import yaml

from .conftest import Clone

pytestmark = pytest.mark.pipeline

SHIPPED = Path(__file__).parents[2] / "scenes" / "toy-table.yaml"
REFINING = Path(__file__).parents[2] / "recipes" / "magic3d-toybox.yaml"
IMPORTED = "suites/imported"


@pytest.fixture(scope="module")
def clone(made: Clone, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """Return a copy of the workspace as it was committed, whatever other tests did to it since."""
    path = tmp_path_factory.mktemp("scenes") / "clone"
    copied = Clone(Path(shutil.copytree(made.path, path, symlinks=True)), made.programs)
    copied.run("git", "checkout", "--quiet", "--force", "HEAD")
    copied.dvc("checkout", "--force")
    return copied


def test_an_imported_mesh_is_made_measured_and_shown(clone: Clone) -> None:
    trimesh.creation.capsule(height=20.0, radius=8.0).export(clone.path / "pill.stl")
    said = clone.kit(
        "import", "pill", "pill.stl", "--prompt", "a grey pill", "--recipe", "analytic"
    )
    assert "0.036 m" in said
    ran = clone.repro(folder=IMPORTED)
    of_asset = {f"assets/pill/dvc.yaml:{stage}" for stage in ("mesh", "evaluate")}
    assert ran - {"fetch_clip"} == of_asset | {"score", "report"}  # the judge may be in the cache
    assert clone.repro(folder=IMPORTED) == set()
    assert "1 made" in clone.kit("suite", "status", folder=IMPORTED)
    out = clone.path / IMPORTED / "out"
    assert (out / "mesh/pill/mesh.glb").read_bytes()[:4] == b"glTF"
    assert 'id="pill"' in (out / "report/index.html").read_text()
    clone.kit("validate")
    refused = clone.call("dreamfusion-kit", "optimize", "pill", "--suite", "imported")
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)


def test_the_imported_file_is_pinned(clone: Clone) -> None:
    """As above; a changed file is refused by the stage, since asset.yaml names its hash."""
    source = clone.path / IMPORTED / "assets/pill/source/model.stl"
    source.unlink()  # DVC may have linked it to its cache
    trimesh.creation.box().export(source)
    done = clone.call("dreamfusion-kit", "mesh", "pill", "--suite", "imported")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "found other content" in done.stderr
    clone.dvc("checkout", "--force", folder=IMPORTED)
    clone.kit("mesh", "pill", "--suite", "imported")


def test_an_imported_mesh_is_refined(clone: Clone) -> None:
    recipe = yaml.safe_load((clone.path / "recipes/analytic.yaml").read_text())
    section = yaml.safe_load(REFINING.read_text())["refine"]
    (phase,) = section["phases"]
    for key in ("view_prompts", "negative_prompt"):
        phase["guidance"][key] = recipe["guidance"][key]
    phase["camera"]["image_size_px"] = 32
    phase["optimize"] |= {"num_steps": 2, "checkpoint_every_steps": 2, "preview_every_steps": 2}
    phase["optimize"]["learning_rate_decay"]["warmup_steps"] = 1
    moved = {
        "kind": "vertex_offsets",
        "max_faces": 5000,
        "learning_rate": 0.002,
        "smoothing_lambda": 0.0,
    }
    section |= {"representation": moved, "texture": section["texture"] | {"resolution": 16}}
    path = clone.path / "recipes/refined.yaml"
    path.write_text(json.dumps(recipe | {"refine": section}))
    trimesh.creation.icosphere(subdivisions=2).export(clone.path / "ball.glb")
    clone.kit("import", "ball", "ball.glb", "--prompt", "a ball", "--recipe", "refined")
    ran = clone.repro(folder=IMPORTED)
    stages = ("embed", "mesh", "refine", "evaluate")
    assert {f"assets/ball/dvc.yaml:{stage}" for stage in stages} <= ran
    assert clone.repro(folder=IMPORTED) == set()
    out = clone.path / IMPORTED / "out"
    assert (out / "refined/ball/mesh.glb").read_bytes()[:4] == b"glTF"
    assert 'id="ball"' in (out / "report/index.html").read_text()


def test_broken_files_are_one_line(clone: Clone) -> None:
    for name, content in (("a.obj", b"v nan 0 0\nf 1 1 1\n"), ("a.glb", b"glTF"), ("a.stl", b"x")):
        (clone.path / name).write_bytes(content)
        done = clone.call("dreamfusion-kit", "import", "broken", name, "--prompt", "x")
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
        assert done.stderr.startswith(name)


def test_a_scene_is_a_stage_that_only_its_own_target_runs(clone: Clone) -> None:
    text = re.sub(r"asset: \w+", "asset: first", SHIPPED.read_text())
    text = re.sub(r"image_size_px: .*", "image_size_px: [32, 16]", text)
    text = re.sub(r"samples_per_pixel: .*", "samples_per_pixel: 1", text)
    text = re.sub(r"num_frames: .*", "num_frames: 2", text)
    (clone.path / "scenes").mkdir()
    (clone.path / "scenes/toy-table.yaml").write_text(text)
    assert "scenes/dvc.yaml: written" in clone.kit("upgrade")
    assert clone.repro() == set()
    target = "scenes/dvc.yaml"
    assert clone.repro(target) == {"scenes/dvc.yaml:toy-table"}
    assert clone.repro(target) == set()
    scene = clone.path / "out/scene/toy-table"
    assert (scene / "scene.glb").read_bytes()[:4] == b"glTF"
    clone.edit(str(Path("scenes/toy-table.yaml")), r"strength: 1\.15", "strength: 1.0")
    assert clone.repro(target) == {"scenes/dvc.yaml:toy-table"}


def test_an_asset_is_relit(clone: Clone) -> None:
    said = clone.kit(
        "relight", "first", "--light", "sunset", "--size", "16", "--samples", "1", "--frames", "0"
    )
    assert said.split() == ["out/relight/first/sunset"]
