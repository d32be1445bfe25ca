"""A workspace to break, with recipes and suites that do not change when the shipped ones do."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Enter a fresh copy of data/workspace, and return its relative path."""
    shutil.copytree(Path(__file__).parent / "data" / "workspace", tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Path()
