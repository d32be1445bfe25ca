"""Outputs appear whole or not at all, and JSON always reads the same."""

import hashlib
import json
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dreamfusion_kit.errors import DreamFusionKitError


@contextmanager
def new_directory(target: Path) -> Generator[Path, None, None]:
    """Give an empty folder that takes the place of `target` when the block ends well."""
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)


def write_text(target: Path, text: str) -> None:
    """Write a file by way of a partial one beside it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(target)


def write_json(target: Path, value: Any) -> None:
    """Write indented JSON with sorted keys; nan and infinity are refused."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    write_text(target, text + "\n")


def read_json(path: Path, *, made_by: str) -> Any:
    """Read JSON that the stage `made_by` wrote."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DreamFusionKitError(
            f"{path}: cannot be read ({error}); it is written by the {made_by} stage; "
            "run `dvc repro`"
        ) from error


def sha256(path: Path) -> str:
    """Return the file's hash."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
