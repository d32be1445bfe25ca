"""What runs again, and what does not. The tests share one clone and run in this order."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pygltflib import GLTF2

from dreamfusion_kit.recipe import yaml_text

from .conftest import ASSETS, Clone, environment

pytestmark = pytest.mark.pipeline


STAGES = (
    "fetch@analytic",
    "fetch_clip",
    *(
        f"{stage}@{asset}"
        for stage in ("embed", "optimize", "mesh", "evaluate")
        for asset in ASSETS
    ),
    "score",
    "report",
)


def stages_of(ran: set[str]) -> set[str]:
    return {name.partition("@")[0] for name in ran}


def test_everything_is_made(clone: Clone) -> None:
    out = clone.path / "out" / "default"
    assert (out / "report" / "index.html").stat().st_size > 100_000
    for asset in ASSETS:
        assert (out / "mesh" / asset / "mesh.glb").read_bytes()[:4] == b"glTF"
    metrics = json.loads((clone.path / "metrics" / "default.json").read_text())["summary"]
    assert metrics["num_assets"] == 2
    assert metrics["iou"] > 0  # the mug has a true shape, the horse has none
    assert metrics["front_views"] is not None  # and sides, by the judge of sides
    assert metrics["components"] >= 1
    assert "a wooden horse" in (out / "report" / "index.html").read_text()


def test_a_second_repro_runs_nothing(clone: Clone) -> None:
    assert clone.repro() == set()


def test_a_comment_and_the_readme_rerun_nothing(clone: Clone) -> None:
    recipe = clone.path / "recipes" / "analytic.yaml"
    recipe.write_text(recipe.read_text() + "# A remark.\n")
    (clone.path / "README.md").write_text("# Another title\n")
    assert clone.repro() == set()


def test_a_prompt_reruns_its_own_asset_only(clone: Clone) -> None:
    clone.replace("params.yaml", "a wooden horse", "a wooden goose")
    ran = clone.repro()
    assert {"embed@second", "optimize@second", "evaluate@second", "score", "report"} <= ran
    assert not any(name.endswith("@first") for name in ran)


def test_the_mesh_section_reruns_no_optimisation(clone: Clone) -> None:
    clone.replace("recipes/analytic.yaml", "texture_size_px: 64", "texture_size_px: 48")
    ran = clone.repro()
    assert {f"mesh@{asset}" for asset in ASSETS} <= ran
    assert stages_of(ran) <= {"mesh", "evaluate", "score", "report"}


def test_a_mesh_carries_the_identity_of_its_recipe(clone: Clone) -> None:
    shown = yaml_text.parse(clone.call("cli.py", "show", "first").stdout, "show").data
    glb = GLTF2().load(clone.path / "out" / "default" / "mesh" / "first" / "mesh.glb")
    assert glb is not None
    assert shown["identity"] in json.dumps(glb.asset.extras)
    clone.replace("recipes/analytic.yaml", "summary: SDS", "summary: sds")
    assert clone.repro("--dry", "mesh@first") == {"mesh@first"}
    clone.replace("recipes/analytic.yaml", "summary: sds", "summary: SDS")


def test_the_protocol_reruns_evaluate_and_later_only(clone: Clone) -> None:
    clone.replace("params.yaml", '"num_azimuths": 2', '"num_azimuths": 3')
    ran = clone.repro()
    assert {f"evaluate@{asset}" for asset in ASSETS} <= ran
    assert stages_of(ran) == {"evaluate", "score", "report"}


@pytest.mark.parametrize(
    ("file", "old", "new", "rerun"),
    [
        (
            "params.yaml",
            'goose", "recipe": "analytic", "seed": 0',
            'goose", "recipe": "analytic", "seed": 1',
            {"optimize@second", "mesh@second", "score", "report"},
        ),
        (
            "params.yaml",
            'goose", "recipe": "analytic", "seed": 0, "overrides": {}',
            'goose", "recipe": "analytic", "seed": 0, "overrides": {"mesh.max_faces": 300}',
            {"embed@second", "optimize@second", "mesh@second", "score", "report"},
        ),
        (
            "recipes/analytic.yaml",
            "opacity_lambda: 0.001",
            "opacity_lambda: 0.002",
            {f"{stage}@{asset}" for stage in ("optimize", "mesh") for asset in ASSETS},
        ),
        (
            "dreamfusion_kit/mesh/clean.py",
            '"""',
            '"""Edited. ',
            {f"mesh@{asset}" for asset in ASSETS},
        ),
    ],
    ids=["seed", "override", "optimize section", "code of the mesh"],
)
def test_an_edit_would_rerun(clone: Clone, file: str, old: str, new: str, rerun: set[str]) -> None:
    """A dry run names the stages whose own inputs changed, not yet those after them."""
    path = clone.path / file
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, new, 1))
    try:
        assert clone.repro("--dry") == rerun
    finally:
        path.write_text(before)


def test_a_second_suite_runs_with_one_command(clone: Clone) -> None:
    suite = clone.path / "suites" / "pair"
    suite.mkdir(parents=True)
    text = (clone.path / "params.yaml").read_text().partition("evaluation:")[0]
    (suite / "params.yaml").write_text(text.replace("suite: default", "suite: pair"))
    assert clone.call("-m", "dreamfusion_kit.stages.pipeline").returncode == 0
    ran = clone.repro("suites/pair/dvc.yaml")
    assert ran == {f"suites/pair/dvc.yaml:{name}" for name in STAGES}
    out = clone.path / "out"
    for asset in ASSETS:  # the same inputs, so the same bytes
        own = [out / suite / "field" / asset for suite in ("default", "pair")]
        assert _contents(own[0]) == _contents(own[1])
    assert clone.repro() == set()


def test_a_failure_is_one_line_and_exit_status_two(clone: Clone) -> None:
    done = clone.call("cli.py", "optimize", "nobody")
    assert done.returncode == 2
    assert "nobody" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_killed_repro_ends_in_the_same_bytes(clone: Clone) -> None:
    """Kill DVC in the middle of a run, repro again, and compare with a run left alone."""
    clone.replace("recipes/analytic.yaml", "num_steps: 20", "num_steps: 400")
    field = clone.path / "out" / "default" / "field" / "first"
    repro = ["-m", "dvc", "repro", "optimize@first"]
    process = subprocess.Popen(
        [sys.executable, *repro],
        cwd=clone.path,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _wait_for_checkpoint(clone.path / ".work", process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    resumed = clone.call(*repro)
    assert "resuming at step" in resumed.stdout + resumed.stderr, resumed.stderr
    after_kill = _contents(field)
    assert list((clone.path / ".work").iterdir()) == []
    left_alone = clone.call("cli.py", "optimize", "first")
    assert "resuming" not in left_alone.stderr
    assert _contents(field) == after_kill


def _wait_for_checkpoint(work: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not list(work.rglob("*.safetensors")):
        assert process.poll() is None, "the run ended before its first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _contents(directory: Path) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
