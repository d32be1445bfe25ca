"""An asset made again in a clone of the commit that made it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from dreamfusion_kit.optimize import trace_file
from dreamfusion_kit.optimize.trace import KINDS
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.suites import reproduce
from dreamfusion_kit.suites.recorded import Source

from .conftest import KIT, ROOT, SUITE, Workspace, environment

pytestmark = pytest.mark.pipeline

STAGES = ["fetch", "embed", "optimize", "mesh", "evaluate"]

# Python imports this at its start. It flips one bit of a parameter's gradient at step 4.
FAULT = """
import sys

if "optimize" in sys.orig_argv:
    from dreamfusion_kit.optimize import loop

    own, calls = loop.clip_gradients, []

    def clip_gradients(parameters, limit):
        import torch

        if len(calls) == 4:
            gradient = parameters[0].grad.view(-1)
            gradient.view(torch.int32)[gradient.abs().argmax()] ^= 1 << 20
        calls.append(1)
        return own(parameters, limit)

    loop.clip_gradients = clip_gradients
"""


def _git(committed: Workspace, *command: str) -> str:
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    done = subprocess.run(
        ["git", *identity, *command], cwd=committed.path, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def committed(serial: Workspace) -> Workspace:
    _git(serial, "add", "-A")
    _git(serial, "commit", "-q", "-m", "made")
    # Later commits change the recipe, so that HEAD would make another asset.
    recipe = serial.path / "recipes" / "analytic.yaml"
    recipe.write_text(recipe.read_text().replace("num_steps: 6", "num_steps: 7"))
    _git(serial, "commit", "-aqm", "longer")
    recipe.write_text(recipe.read_text().replace("num_steps: 7", "num_steps: 6"))
    return serial


@contextmanager
def _replaced(path: Path, content: bytes) -> Iterator[None]:
    before = path.read_bytes()
    path.unlink()  # DVC may have linked it to its cache
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


def test_the_same_asset_is_made_again_from_the_commit_that_has_it(committed: Workspace) -> None:
    done = committed.call(KIT, "reproduce", "ball", "--suite", SUITE, "--bisect")
    assert done.returncode == 0, done.stderr
    source, *lines = done.stdout.splitlines()
    made = _git(committed, "rev-parse", "HEAD~1")
    assert source == f"commit {made[:12]}, the first whose dvc.lock has this run"
    assert [line.partition(": equal (")[0] for line in lines] == STAGES


def test_one_flipped_bit_of_a_gradient_is_named_by_its_step(
    committed: Workspace, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(FAULT)
    done = subprocess.run(
        [sys.executable, str(KIT), "reproduce", "ball", "--suite", SUITE, "--bisect"],
        cwd=committed.path,
        env=environment() | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[-2:] == [
        "optimize: out/field/ball/field.safetensors differs",
        "optimize: step 4: gradient differs first; then field",
    ]


def test_the_first_file_that_differs_is_named(committed: Workspace) -> None:
    path = committed.suite / "out" / "field" / "ball" / "field.safetensors"
    before = path.read_bytes()
    with _replaced(path, before[:-1] + bytes([before[-1] ^ 1])):
        done = committed.call(KIT, "reproduce", "ball", "--suite", SUITE, "--bisect")
    assert done.returncode == 1, done.stderr
    assert done.stdout.splitlines()[-2:] == [
        "optimize: out/field/ball/field.safetensors differs",
        "optimize: every step is equal; what differs was made after the last",
    ]


def test_a_clean_commit_that_the_run_noted_is_used(committed: Workspace) -> None:
    path = committed.suite / "out" / "cost" / "ball" / "optimize.json"
    cost = json.loads(path.read_text())
    head = _git(committed, "rev-parse", "HEAD")
    cost["commit"] = {"hash": head, "dirty": False}
    with _replaced(path, json.dumps(cost).encode()):
        done = committed.call(KIT, "reproduce", "ball", "--suite", SUITE)
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"commit {head[:12]}, recorded by the run"
    assert lines[-1].startswith("optimize: out/field/ball/field.safetensors differs")


def test_what_differs_in_packages_and_machine_is_named(committed: Workspace) -> None:
    path = committed.suite / "out" / "run" / "ball" / "optimize.json"
    record = json.loads(path.read_text())
    record["packages"]["torch"] = "1.0"
    record["machine"]["cpu_flags"] = ["avx2"]
    record["code"] = "0" * 64
    with _replaced(path, json.dumps(record).encode()):
        done = committed.call(KIT, "reproduce", "ball", "--suite", SUITE, "--rev", "HEAD~1")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].endswith(", given as HEAD~1")
    facts = {line.partition(":")[0] for line in lines if line.endswith(" in the record")}
    assert {"torch", "cpu flags", "code of optimize"} >= facts
    assert {"torch", "code of optimize"} <= facts
    assert lines[-1].startswith("evaluate: equal")


def test_what_cannot_be_compared_is_one_line(committed: Workspace) -> None:
    done = committed.call(KIT, "reproduce", "ball", "--suite", SUITE, "--rev", "--nonsense")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "expected a workspace that is committed, and a revision of it" in done.stderr
    done = committed.call(KIT, "reproduce", "nobody", "--suite", SUITE)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    done = committed.call(KIT, "reproduce", "mug")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "written by the optimize stage" in done.stderr


@pytest.mark.parametrize(
    ("commit", "found"),
    [
        (None, "found no note of its commit"),
        ({"hash": "0" * 40, "dirty": False}, "which is not in this repository"),
        ({"hash": "0" * 40, "dirty": True}, "with uncommitted changes"),
    ],
)
def test_a_run_without_a_commit_is_refused_in_one_line(
    committed: Workspace, commit: object, found: str
) -> None:
    cost_path = committed.suite / "out" / "cost" / "ball" / "optimize.json"
    run_path = committed.suite / "out" / "run" / "ball" / "optimize.json"
    cost, record = json.loads(cost_path.read_text()), json.loads(run_path.read_text())
    cost["commit"] = commit
    record["code"] = "0" * 64  # so that no dvc.lock has it
    with (
        _replaced(cost_path, json.dumps(cost).encode()),
        _replaced(run_path, json.dumps(record).encode()),
    ):
        done = committed.call(KIT, "reproduce", "ball", "--suite", SUITE)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert found in done.stderr
    assert "name a revision with --rev" in done.stderr


def test_a_run_without_digests_is_refused_before_anything_is_made(committed: Workspace) -> None:
    path = committed.suite / "out" / "field" / "ball" / "trace" / "digests.tsv"
    with _replaced(path, b""):
        path.unlink()
        done = committed.call(KIT, "reproduce", "ball", "--suite", SUITE, "--bisect")
        path.touch()
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "make the asset again" in done.stderr


def test_a_refinement_that_parts_is_named_by_its_phase(tmp_path: Path) -> None:
    section = load_recipe(ROOT / "recipes" / "prolificdreamer-toybox.yaml").refine
    assert section is not None
    first = torch.zeros((section.num_steps, len(KINDS)), dtype=torch.int64)
    again = first.clone()
    again[203, KINDS.index("prediction")] = 1
    for name, digests in (("first", first), ("again", again)):
        (tmp_path / name).mkdir()
        trace_file.write(tmp_path / name, digests)
    rows, source = trace_file.read(tmp_path / "first"), Source("0" * 40, "a commit")
    found = reproduce._parting(rows, tmp_path / "again", source, section)  # pyright: ignore[reportPrivateUsage]
    assert found == "phase 2, step 3: prediction differs first"
    alone = reproduce._parting(rows, tmp_path / "again", source, None)  # pyright: ignore[reportPrivateUsage]
    assert alone == "step 203: prediction differs first"
