"""A model's directory as the fetch stage's lock file pins it."""

from pathlib import Path

from dreamfusion_kit import files
from dreamfusion_kit.priors import additions, fetch
from dreamfusion_kit.recipe.schema import Additions, ModelSourceSection


def locked_directory(source: ModelSourceSection, lock_path: Path, workspace: Path) -> Path:
    """Return the directory that holds exactly the files of the lock file."""
    return fetch.locate(source, workspace, files.read_json(lock_path, fetch.Lock, made_by="fetch"))


def locked_model(
    source: ModelSourceSection, added: Additions, lock_path: Path, workspace: Path
) -> additions.Model:
    """Return where a prior's files and what is added to it lie, exactly as the lock file says."""
    lock = files.read_json(lock_path, fetch.Lock, made_by="fetch")
    return additions.locate(source, added, workspace, lock)
