"""Outputs appear whole or not at all."""

from pathlib import Path

import pytest

from dreamfusion_kit import files
from dreamfusion_kit.errors import DreamFusionKitError


def test_a_directory_replaces_the_old_one_when_it_is_done(tmp_path: Path) -> None:
    target = tmp_path / "mesh"
    target.mkdir()
    (target / "stale").write_text("old")
    with files.new_directory(target) as directory:
        (directory / "fresh").write_text("new")
        assert (target / "stale").exists()
    assert [path.name for path in target.iterdir()] == ["fresh"]
    assert [path.name for path in tmp_path.iterdir()] == ["mesh"]


def test_a_failure_leaves_the_old_directory(tmp_path: Path) -> None:
    target = tmp_path / "mesh"
    target.mkdir()
    (target / "kept").write_text("old")
    with pytest.raises(RuntimeError), files.new_directory(target):
        raise RuntimeError
    assert (target / "kept").read_text() == "old"


def test_json_has_sorted_keys_and_no_nan(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "facts.json"
    files.write_json(path, {"b": 1, "a": "é"})
    assert path.read_text() == '{\n  "a": "é",\n  "b": 1\n}\n'
    with pytest.raises(ValueError, match="Out of range"):
        files.write_json(path, {"a": float("nan")})
    assert files.read_json(path, made_by="test") == {"a": "é", "b": 1}


def test_missing_json_names_the_stage_and_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(DreamFusionKitError, match=r"written by the score stage; run `dvc repro`"):
        files.read_json(tmp_path / "none.json", made_by="score")
