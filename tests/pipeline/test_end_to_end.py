"""The pipeline with its real stages, from prompts to the gallery. The tests share one clone."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import grimp
import pytest
from pygltflib import GLTF2

from dreamfusion_kit.identity import code
from dreamfusion_kit.identity.stage_name import CodeName
from dreamfusion_kit.recipe import yaml_text

from .conftest import ASSETS, Clone, contents, copy_of

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


STAGE_PROGRAM = """
import importlib, os, sys
from collections import defaultdict
from pathlib import Path

opened = set()


def note(event, arguments):
    if event == "open" and "/dreamfusion_kit/" in str(arguments[0]):
        opened.add(os.path.abspath(str(arguments[0])).partition("/dreamfusion_kit/")[2])


log, name, *arguments = sys.argv[1:]
sys.addaudithook(note)
stage = importlib.import_module(f"dreamfusion_kit.stages.{name}")
if name in ("embed", "optimize", "mesh", "evaluate"):
    from dreamfusion_kit.stages.devices import pick

    arguments.append(pick("cpu"))
recorder = sys.modules.get("dreamfusion_kit.identity.code")
if recorder is not None:  # a record names the digests, and to compute them reads everything
    recorder._computed = lambda: defaultdict(lambda: "0" * 64)
stage.run(Path(), "default", *arguments)
Path(log).write_text("\\n".join(sorted(opened)))
"""

STAGES: dict[CodeName, tuple[str, ...]] = {
    "fetch": ("clip",),
    "embed": ("first",),
    "optimize": ("first",),
    "mesh": ("first",),
    "evaluate": ("first",),
    "score": (),
    "report": (),
}
READS = {"evaluate": ("toybox/weights/view",), "report": ("report/templates", "report/vendor")}


def test_a_stage_opens_nothing_that_its_digest_does_not_cover(
    sources: Path, kit_program: Path, made: Clone, tmp_path: Path
) -> None:
    """Python reports every file of the package that a stage alone opens, without a front door.

    Modules are those of its closure; all else is listed in DATA. A bundled model is neither: the
    lock that `fetch` writes has the hash of each file, and the judge here is a local one. Stages
    run in a copy of what was made, so that what they write is not what other tests read.
    """
    clone = copy_of(sources, kit_program, tmp_path)
    shutil.copytree(made.path / "out", clone.path / "out")
    shutil.copytree(made.path / "metrics", clone.path / "metrics", dirs_exist_ok=True)
    graph = grimp.build_graph("dreamfusion_kit", cache_dir=None, exclude_type_checking_imports=True)
    for stage, arguments in STAGES.items():
        log = tmp_path / stage
        clone.run(sys.executable, "-W", "ignore", "-c", STAGE_PROGRAM, str(log), stage, *arguments)
        opened = set(log.read_text().splitlines())
        modules = {module for module in map(_module, opened) if module}
        data = {name for name in opened if not _module(name)}
        closure = {name.removeprefix("dreamfusion_kit.") for name in code.closure(stage, graph)}
        assert f"stages.{stage}" in modules
        assert modules - closure == set(), stage
        covered = code.DATA.get(stage, ())
        assert {name for name in data if not name.startswith(covered)} == set(), stage
        for folder in READS.get(stage, ()):
            assert any(name.startswith(folder) for name in data), folder


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


# Python imports this at its start. It lets an optimisation wait at step 10 for its end.
HOLD = """
import sys

if "optimize" in sys.orig_argv:
    from dreamfusion_kit.optimize import loop

    own, calls = loop.clip_gradients, []

    def clip_gradients(parameters, limit):
        import time

        if len(calls) == 10:
            time.sleep(3600)
        calls.append(1)
        return own(parameters, limit)

    loop.clip_gradients = clip_gradients
"""


def test_a_killed_repro_ends_in_the_same_bytes(made: Clone, tmp_path: Path) -> None:
    """Kill DVC in the middle of a run, repro again, and compare with a run left alone."""
    made.edit("recipes/analytic.yaml", "num_steps: 20$", "num_steps: 30")
    field = made.path / "out" / "field" / "first"
    repro = [sys.executable, "-m", "dvc", "repro", "optimize@first"]
    (tmp_path / "sitecustomize.py").write_text(HOLD)
    with subprocess.Popen(
        repro,
        cwd=made.path,
        env=made.environment() | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{made.path}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            _wait_for_checkpoint(made.path / ".work", process)
        finally:
            process.kill()

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
    deadline = time.monotonic() + 600
    # A checkpoint is written into a folder whose name begins with a dot.
    while not list(work.glob("*/checkpoint*/*.safetensors")):
        assert process.poll() is None, "the run ended before its first checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.01)
