"""The pipeline with its real stages, from prompts to the gallery. The tests share one clone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import grimp
import pytest
from pygltflib import GLTF2

from dreamfusion_kit.identity import code
from dreamfusion_kit.recipe import yaml_text

from .conftest import ASSETS, Clone, contents

pytestmark = pytest.mark.pipeline


def test_everything_is_made(made: Clone) -> None:
    out = made.path / "out"
    assert (out / "report" / "index.html").stat().st_size > 100_000
    assert "a wooden horse" in (out / "report" / "index.html").read_text()
    for asset in ASSETS:
        assert (out / "mesh" / asset / "mesh.glb").read_bytes()[:4] == b"glTF"
    metrics = (made.path / "metrics" / "default.json").read_text()
    assert json.loads(metrics)
    for asset in ASSETS:
        measured = json.loads((out / "evaluation" / asset / "metrics.json").read_text())
        assert measured["asset"] == asset
    assert made.repro() == set()


def test_a_stage_opens_nothing_that_its_digest_does_not_cover(made: Clone) -> None:
    """Modules are those of its closure or of the front door; all else is listed in DATA."""
    graph = grimp.build_graph("dreamfusion_kit", cache_dir=None, exclude_type_checking_imports=True)
    opened: dict[str, set[str]] = {}
    for line in (made.programs / "opened.log").read_text().splitlines():
        command, name = line.split(" ", 1)
        opened.setdefault(command, set()).add(name)
    front_door = {_module(name) for name in opened["sync"] if _module(name)}
    for stage in ("fetch", "embed", "optimize", "mesh", "evaluate", "score", "report"):
        modules = {name for name in map(_module, opened[stage]) if name}
        closure = {module.removeprefix("dreamfusion_kit.") for module in code.closure(stage, graph)}
        assert f"stages.{stage}" in modules
        others = modules - front_door - closure
        # What only refuses a run that cannot fit decides no result.
        assert {name for name in others if not _checks_memory(name)} == set(), stage
        data = {name for name in opened[stage] if not _module(name)}
        # These also write their digest down, for which all data is hashed.
        hashes_all = stage in {"optimize", "mesh", "score"}
        folders = sum(code.DATA.values(), ()) if hashes_all else code.DATA.get(stage, ())
        assert {name for name in data if not name.startswith(folders)} == set(), stage
    assert any(name.startswith("toybox/weights/view") for name in opened["evaluate"])
    assert any(name.startswith("report/templates") for name in opened["report"])


def _checks_memory(module: str) -> bool:
    return module == "stages.memory" or module.split(".")[0] == "memory"


def _module(name: str) -> str | None:
    """Return the module that a file of the package is, as source or compiled; None for data."""
    path = Path(name.replace("__pycache__/", ""))
    if path.suffix not in {".py", ".pyc"} and ".pyc" not in name:
        return None
    parts = [*path.parent.parts, path.name.partition(".")[0]]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "dreamfusion_kit"


def test_a_mesh_carries_the_identity_of_its_recipe(made: Clone) -> None:
    shown = yaml_text.parse(made.kit("show", "first"), "show").data
    glb = GLTF2().load(made.path / "out" / "mesh" / "first" / "mesh.glb")
    assert glb is not None
    assert shown["identity"] in json.dumps(glb.asset.extras)


def test_the_same_work_gives_the_same_lock(made: Clone) -> None:
    """No time, no memory and no path is in what DVC tracks."""
    lock = (made.path / "dvc.lock").read_bytes()
    for name in ("first",):
        made.dvc(
            "repro", "-s", "-f", *(f"{stage}@{name}" for stage in ("embed", "optimize", "mesh"))
        )
    assert (made.path / "dvc.lock").read_bytes() == lock
    assert made.run("git", "status", "--porcelain") == ""
    for path in (made.path / "out").rglob("*.json"):
        assert str(made.path) not in path.read_text(), path
    assert list((made.path / "out" / "cost" / "first").iterdir())


def test_the_mesh_section_reruns_no_optimisation(made: Clone) -> None:
    made.edit("recipes/analytic.yaml", r"texture_size_px: \d+", "texture_size_px: 48")
    ran = made.repro()
    assert {f"mesh@{asset}" for asset in ASSETS} <= ran
    assert {name.partition("@")[0] for name in ran} <= {"mesh", "evaluate", "score", "report"}


def test_a_failure_is_one_line_and_exit_status_two(made: Clone) -> None:
    done = made.call("dreamfusion-kit", "optimize", "nobody")
    assert done.returncode == 2
    assert "nobody" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_killed_repro_ends_in_the_same_bytes(made: Clone) -> None:
    """Kill DVC in the middle of a run, repro again, and compare with a run left alone."""
    made.edit("recipes/analytic.yaml", "num_steps: 20$", "num_steps: 400")
    field = made.path / "out" / "field" / "first"
    repro = [sys.executable, "-m", "dvc", "repro", "optimize@first"]
    process = subprocess.Popen(
        repro,
        cwd=made.path,
        env=made.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _wait_for_checkpoint(made.path / ".work", process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    resumed = made.call(*repro)
    assert "resuming at step" in resumed.stdout + resumed.stderr, resumed.stderr
    after_kill = contents(field)
    lock = (made.path / "dvc.lock").read_bytes()
    assert not list((made.path / ".work").rglob("*.safetensors"))
    left_alone = made.call(*repro[:-1], "-s", "-f", "optimize@first")
    assert left_alone.returncode == 0, left_alone.stderr
    assert "resuming" not in left_alone.stderr
    assert contents(field) == after_kill
    assert (made.path / "dvc.lock").read_bytes() == lock


def _wait_for_checkpoint(work: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while not list(work.rglob("*.safetensors")):
        assert process.poll() is None, "the run ended before its first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.01)
