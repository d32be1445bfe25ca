"""A model's directory as the fetch stage's lock file pins it."""

from collections.abc import Mapping
from pathlib import Path

from dreamfusion_kit import files
from dreamfusion_kit.priors.source import fetch
from dreamfusion_kit.priors.source.model_lock import Lock
from dreamfusion_kit.recipe.schema import SourceSection


def locked_directory(
    source: SourceSection, lock_path: Path, workspace: Path, *, part: str | None = None
) -> Path:
    """Return the directory that holds exactly the files of the lock file.

    Args:
        source: Where the model comes from.
        lock_path: What the fetch stage wrote.
        workspace: The folder that a local source's path is relative to.
        part: The model's name, if the lock file holds several models'.
    """
    lock = files.read_json(lock_path, Lock, made_by="fetch")
    prefix = "" if part is None else f"{part}/"
    own = {
        name.removeprefix(prefix): file for name, file in lock.items() if name.startswith(prefix)
    }
    return fetch.locate(source, workspace, own)


def joined(locks: Mapping[str, Lock]) -> Lock:
    """Return the lock of several models, each as a folder of its name."""
    return {f"{part}/{name}": file for part, lock in locks.items() for name, file in lock.items()}
