"""A copy of a model."""

import shutil
from pathlib import Path

import pytest

from .model_copy import Copy


@pytest.fixture
def copy(request: pytest.FixtureRequest, tmp_path: Path) -> Copy:
    """Return a function that copies a family's directory to a place where it may be changed."""

    def make(family: str) -> Path:
        source: Path = request.getfixturevalue(family)
        return Path(shutil.copytree(source, tmp_path / "model"))

    return make
