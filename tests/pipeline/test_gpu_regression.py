"""scripts/ci/gpu_regression.sh as its job runs it: in a fresh clone of a pull request.

Git, DVC with a remote, the script and the gate are real. The suite is the committed toybox-16 with
some of its assets. Its stages cost nothing; their quality follows the recipe.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT, Clone, copy_of

pytestmark = pytest.mark.pipeline

NAME = "toybox-16"
SUITE = Path("suites") / NAME
NUM_ASSETS = 6
RECIPE = "recipes/toybox.yaml"


@pytest.fixture(scope="module")
def main(sources: Path, stand_in_program: Path, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """Return a clone whose branch `main` has the suite's metrics, with its outputs in a remote."""
    folder = tmp_path_factory.mktemp("regression")
    clone = copy_of(sources, stand_in_program, folder)
    shutil.copytree(ROOT / "scripts" / "ci", clone.path / "scripts" / "ci")
    shutil.copytree(
        ROOT / SUITE, clone.path / SUITE, ignore=shutil.ignore_patterns("out", "dvc.lock", ".dvc")
    )
    for asset in sorted((clone.path / SUITE / "assets").iterdir())[NUM_ASSETS:]:
        shutil.rmtree(asset)
    gate = re.search(r"^gate:\n(?:(?:  .*)?\n)+", (ROOT / "params.yaml").read_text(), re.MULTILINE)
    assert gate is not None
    with (clone.path / "params.yaml").open("a") as params:
        params.write(gate[0])
    clone.dvc("remote", "add", "-q", "-d", "store", str(folder / "store"))
    clone.kit("upgrade")
    clone.run("git", "checkout", "-qb", "main")
    _make(clone)
    return clone


def _make(clone: Clone) -> None:
    """Make the suite as its author does, and commit and push it."""
    clone.dvc("repro", "-q", "--all-pipelines", folder=str(SUITE))
    clone.dvc("push", "-q", folder=str(SUITE))
    clone.commit()


def _judged(main: Clone, branch: str, folder: Path) -> tuple[subprocess.CompletedProcess[str], str]:
    """Check a branch out as the job does; return how the script ended, and its report."""
    runner = Clone(folder / "runner", main.programs)
    subprocess.run(["git", "clone", "-q", str(main.path), str(runner.path)], check=True)
    runner.run("git", "checkout", "-q", "--detach", f"origin/{branch}")
    tools = Path(sys.executable).parent  # dvc
    path = f"{main.programs}:{tools}:{runner.environment()['PATH']}"
    done = runner.call("scripts/ci/gpu_regression.sh", "origin/main", NAME, PATH=path)
    return done, (runner.path / ".work" / "ci" / "gate.md").read_text()


def _branch(main: Clone, name: str, setting: str, value: str) -> None:
    main.run("git", "checkout", "-qB", name, "main")
    main.edit(RECIPE, rf"^  {setting}: .*", f"  {setting}: {value}")
    main.kit("upgrade")
    main.commit()


def test_a_pull_request_that_lowers_quality_is_refused(main: Clone, tmp_path: Path) -> None:
    """Its author has not made the suite: the runner does, and judges that."""
    _branch(main, "weaker", "guidance_scale", "4.0")
    done, report = _judged(main, "weaker", tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.count("optimize") >= NUM_ASSETS
    assert "gate: refused: " in done.stderr
    assert report.startswith("## Quality gate: refused")


def test_one_that_does_not_passes(main: Clone, tmp_path: Path) -> None:
    """Every asset is another one, as with another seed, and none is worse by more than chance."""
    _branch(main, "longer", "num_steps", "701")
    _make(main)
    done, report = _judged(main, "longer", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search(r"Running stage '(?!kit')", done.stdout), "its outputs are in the remote"
    assert report.startswith("## Quality gate: passed")
