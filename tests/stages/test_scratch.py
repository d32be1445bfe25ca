"""What `.work` holds is shown and cleared, but for what a process holds."""

import os
import time
from pathlib import Path

import pytest

from dreamfusion_kit.optimize.checkpoint import open_scratch
from dreamfusion_kit.stages import scratch

DAY_S = 86_400
MUG, CONE, OLD = "a" * 64, "b" * 64, "c" * 64


def make(workspace: Path, name: str, *, days: float, size_bytes: int = 0) -> Path:
    """Make a scratch whose files were written `days` ago."""
    folder = workspace / ".work" / name
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "lock").write_text("")
    (folder / "checkpoints" / "step_00000010.safetensors").write_bytes(bytes(size_bytes))
    return _written(folder, days)


def _written(folder: Path, days: float) -> Path:
    then = time.time() - days * DAY_S
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (then, then))
    return folder


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    for name, asset, days in ((MUG, "mug", 0.1), (CONE, "cone", 5)):
        folder = make(tmp_path, name, days=days, size_bytes=3 << 20)
        scratch.write_note(folder, suite="default", asset=asset, stage="optimize")
        _written(folder, days)
    make(tmp_path, OLD, days=9)  # of a version that wrote no note
    (tmp_path / ".work" / "notes").mkdir()  # not the kit's
    (tmp_path / ".work" / ("d" * 64)).symlink_to(tmp_path)
    return tmp_path


def names(folders: list[scratch.ScratchFolder]) -> list[str]:
    return [folder.path.name for folder in folders]


def test_no_work_is_no_scratch(tmp_path: Path) -> None:
    assert scratch.find(tmp_path) == []


def test_the_table_tells_whose_it_is(workspace: Path) -> None:
    assert scratch.table(scratch.find(workspace)) == (
        "asset    suite    stage     size   age     state\n"
        "unknown  unknown  unknown   0 KiB  9 days  free\n"
        "cone     default  optimize  3 MiB  5 days  free\n"
        "mug      default  optimize  3 MiB  2 h     free"
    )


def test_assets_and_ages_are_chosen(workspace: Path) -> None:
    assert names(scratch.find(workspace, asset="mug")) == [MUG]
    assert names(scratch.find(workspace, older_than_days=2)) == [OLD, CONE]
    assert names(scratch.find(workspace, asset="mug", older_than_days=2)) == []


def test_what_a_process_holds_is_kept(workspace: Path) -> None:
    with open_scratch(workspace / ".work", MUG):
        assert "in use" in scratch.table(scratch.find(workspace, asset="mug"))
        assert names(scratch.clear(scratch.find(workspace))) == [OLD, CONE]
        assert names(scratch.find(workspace)) == [MUG]
    assert names(scratch.clear(scratch.find(workspace))) == [MUG]
    assert sorted(path.name for path in (workspace / ".work").iterdir()) == ["d" * 64, "notes"]


def test_a_damaged_note_can_be_cleared(workspace: Path) -> None:
    (workspace / ".work" / MUG / "scratch.json").write_text('{"suite": "\\n"')
    assert "unknown" in scratch.table(scratch.find(workspace))
    assert MUG in names(scratch.clear(scratch.find(workspace)))


def test_a_note_cannot_forge_a_row(workspace: Path) -> None:
    scratch.write_note(workspace / ".work" / MUG, suite="x", asset="a\nb\u202e", stage="optimize")
    assert len(scratch.table(scratch.find(workspace)).splitlines()) == 4
    assert "\u202e" not in scratch.table(scratch.find(workspace))
