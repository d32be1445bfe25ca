"""A model's directory as the fetch stage's lock file pins it."""

from pathlib import Path

from dreamfusion_kit import files
from dreamfusion_kit.priors import fetch
from dreamfusion_kit.recipe.schema import SourceSection


def locked_directory(source: SourceSection, lock_path: Path, workspace: Path) -> Path:
    """Return the directory that holds exactly the files of the lock file."""
    return fetch.locate(source, workspace, files.read_json(lock_path, fetch.Lock, made_by="fetch"))
