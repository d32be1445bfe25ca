"""What makes `sync` look again, and what does not."""

import os
import shutil
from pathlib import Path

import pytest

from dreamfusion_kit.sync_memory import is_in_sync, remember
from dreamfusion_kit.workspace.sync import reads_no_other_files

DATA = Path(__file__).parent / "recipe" / "data" / "workspace"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a workspace that is in sync."""
    shutil.copytree(DATA, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text("stages: {}\n")
    Path("kit.json").write_text("{}\n")
    remember(Path())
    return Path()


def test_nothing_has_changed(workspace: Path) -> None:
    assert is_in_sync(workspace)


def test_nothing_is_known_before_the_first_sync(workspace: Path) -> None:
    shutil.rmtree(".work")
    assert not is_in_sync(workspace)


@pytest.mark.parametrize(
    "file", ["params.yaml", "recipes/toybox.yaml", "kit.json", "dvc.yaml"], ids=str
)
def test_an_edit_that_keeps_size_and_time_is_seen(workspace: Path, file: str) -> None:
    path = workspace / file
    before = path.stat()
    path.write_text(path.read_text().swapcase())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert not is_in_sync(workspace)


@pytest.mark.parametrize("file", ["params.yaml", "kit.json", "recipes/analytic.yaml"], ids=str)
def test_a_file_that_is_gone_is_seen(workspace: Path, file: str) -> None:
    (workspace / file).unlink()
    assert not is_in_sync(workspace)


def test_a_suite_has_a_memory_of_its_own(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suite = workspace / "suites" / "trio"
    (suite / "dvc.yaml").write_text("stages: {}\n")
    (suite / "kit.json").write_text("{}\n")
    monkeypatch.chdir(suite)
    remember(Path())
    assert is_in_sync(Path())
    shutil.copytree("assets/red_ball", "assets/blue_ball")
    assert not is_in_sync(Path())


def test_a_judge_in_the_workspace_is_looked_at_each_time(workspace: Path) -> None:
    assert not reads_no_other_files(workspace, "default")  # kind: local
    text = Path("params.yaml").read_text()
    bundled = "    kind: bundled\n    name: clip\n"
    local = "    kind: local\n    path: dreamfusion_kit/toybox/weights/clip\n"
    assert local in text
    Path("params.yaml").write_text(text.replace(local, bundled))
    assert reads_no_other_files(workspace, "default")
    text = Path("params.yaml").read_text()
    Path("params.yaml").write_text(
        text.replace("{kind: toybox}", "{kind: file, path: captions.txt}")
    )
    assert not reads_no_other_files(workspace, "default")


def test_a_protocol_is_seen(workspace: Path) -> None:
    (workspace / "protocols").mkdir()
    (workspace / "protocols" / "ours.yaml").write_text("evaluation: {}\n")
    assert not is_in_sync(workspace)
