"""A workspace to break: the default suite, and the suite `trio`, a folder with three assets."""

import shutil
from pathlib import Path

import pytest

DATA = Path(__file__).parents[1] / "recipe" / "data" / "workspace"


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a fresh copy of the tests' workspace, and return its relative path."""
    shutil.copytree(DATA, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Path()
