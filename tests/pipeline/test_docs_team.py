"""The commands of docs/team.md, run in two clones as two people would."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ASSETS, ROOT, Clone, copy_of, stages

pytestmark = pytest.mark.pipeline

PAGE = ROOT / "docs" / "team.md"
BLOCK = re.compile(r"^<!-- run in (\S+) -->\n```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ORIGIN, REMOTE = "git@example.org:team/toys.git", "/mnt/team/dvc"


def _ran(output: str) -> set[str]:
    return set(re.findall(r"Running stage '([^']+)'", output)) - {"kit"}


def test_two_people_share_a_workspace_and_a_suite(
    sources: Path, stand_in_program: Path, tmp_path: Path
) -> None:
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    assert [folder for folder, _ in blocks] == [
        "ada", ".", "ada", "ben", "ada", "ada/suites/animals",
    ]  # fmt: skip
    ada = _workspace(sources, stand_in_program, tmp_path)
    printed = [_run(ada, tmp_path, folder, commands) for folder, commands in blocks]

    assert _ran(printed[1]) == set(), "a clone with pulled outputs makes nothing"
    assert _ran(printed[5]) == {"score", "report"}, "a merge makes no asset again"
    suite = tmp_path / "ada" / "suites" / "animals"
    assert {path.name for path in (suite / "out" / "mesh").iterdir()} == {"fox", "owl", "cat"}
    assert ada.run("git", "status", "--porcelain") == ""
    assert ada.repro("-R", ".", folder="suites/animals") == set()


def _workspace(sources: Path, programs: Path, folder: Path) -> Clone:
    """Return Ada's workspace with two made assets, and a bare repository as its origin."""
    clone = copy_of(sources, programs, folder)
    ada = Clone(clone.path.rename(folder / "ada"), programs)
    origin = folder / "origin.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(origin)], check=True)
    ada.run("git", "remote", "set-url", "origin", str(origin))
    ada.run("git", "branch", "-m", "main")
    assert stages(*ASSETS) <= ada.repro()
    ada.commit()
    ada.run("git", "push", "-q", "-u", "origin", "main")
    return ada


def _run(ada: Clone, root: Path, folder: str, commands: str) -> str:
    """Run a block of the page verbatim, with the two places put into `root`."""
    for place, here in ((ORIGIN, root / "origin.git"), (REMOTE, root / "remote")):
        commands = commands.replace(place, str(here))
    environment = ada.environment()
    programs, _, others = environment["PATH"].partition(os.pathsep)
    tools = str(Path(sys.executable).parent)  # dvc
    environment["PATH"] = os.pathsep.join([programs, tools, others])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=root / folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{folder}: {commands}\n{done.stdout}\n{done.stderr}"
    return done.stdout
