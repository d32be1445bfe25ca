"""A suite's project has the workspace's configuration, and finds the same cache and remotes."""

import subprocess
import sys
from pathlib import Path

import pytest

from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.workspace.dvc_project import make_project, make_subproject

CONFIG = """\
[core]
    analytics = false
    remote = store
[cache]
    type = "reflink,hardlink,copy"
['remote "store"']
    url = ../../store
['remote "cloud"']
    url = s3://bucket/kit
    credentialpath = aws/credentials
    configpath = ~/.aws/config
    profile = me
['remote "disk"']
    url = /mnt/store
"""


def _get(project: Path, name: str) -> str:
    """Return what DVC itself reads."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "config", name],
        cwd=project,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_relative_places_are_the_workspaces(tmp_path: Path) -> None:
    workspace, suite = tmp_path / "workspace", tmp_path / "workspace" / "suites" / "pair"
    make_project(workspace)
    (workspace / ".dvc" / "config").write_text(CONFIG)
    make_subproject(suite, workspace)
    text = (suite / ".dvc" / "config").read_text()
    for line in (
        "url = ../../../.dvc/../../store",
        "credentialpath = ../../../.dvc/aws/credentials",
        "configpath = ~/.aws/config",
        "url = s3://bucket/kit",
        "url = /mnt/store",
        "profile = me",
        "dir = ../../../.dvc/cache",
    ):
        assert f"    {line}\n" in text
    assert _get(suite, "core.remote") == "store"
    assert _get(suite, "cache.type") == "reflink,hardlink,copy"


@pytest.mark.parametrize("place", ["../../cache", "/mnt/cache"])
def test_a_cache_elsewhere_is_shared(tmp_path: Path, place: str) -> None:
    make_project(tmp_path)
    (tmp_path / ".dvc" / "config").write_text(f"[cache]\n    dir = {place}\n")
    make_subproject(tmp_path / "suites" / "pair", tmp_path)
    text = (tmp_path / "suites" / "pair" / ".dvc" / "config").read_text()
    expected = place if place.startswith("/") else f"../../../.dvc/{place}"
    assert f"    dir = {expected}\n" in text


def test_what_a_user_ignores_stays(tmp_path: Path) -> None:
    make_project(tmp_path)
    (tmp_path / ".gitignore").write_text("mine\n")
    make_project(tmp_path)
    assert (tmp_path / ".gitignore").read_text() == "mine\n"


def test_a_damaged_configuration_is_named(tmp_path: Path) -> None:
    make_project(tmp_path)
    (tmp_path / ".dvc" / "config").write_text("not a section\n")
    with pytest.raises(DreamFusionKitError, match=r"\.dvc/config: .*; expected DVC's"):
        make_subproject(tmp_path / "suites" / "pair", tmp_path)
