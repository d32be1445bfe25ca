"""Loads and checks recipes. All problems of a file are reported at once."""

import json
import stat
from copy import deepcopy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from dreamfusion_kit.recipe import yaml_text
from dreamfusion_kit.recipe.document import Document, did_you_mean, file_error, recipe_error
from dreamfusion_kit.recipe.problems import problems_of
from dreamfusion_kit.recipe.schema import Recipe, Section

MAX_BYTES = 1_000_000

SectionT = TypeVar("SectionT", bound=Section)


def load_recipe(path: Path) -> Recipe:
    """Return the recipe that the file at `path` holds.

    Raises:
        RecipeError: with one line `file:line: key: found, expected` per problem.
    """
    return validate(load_yaml(path), Recipe)


def load_yaml(path: Path) -> Document:
    """Return the content of the YAML file at `path`, with the line of every key."""
    document = _parsed(read_text(path), str(path))
    return replace(document, data=deepcopy(document.data))


@lru_cache(maxsize=64)
def _parsed(text: str, file: str) -> Document:
    """Parse a text once: a worker reads the same recipe and suite around each of its stages."""
    return yaml_text.parse(text, file)


def validate(document: Document, model: type[SectionT]) -> SectionT:
    """Return `document` as `model`, or raise all its problems in one RecipeError."""
    try:
        # For JSON, strict mode accepts a list for a tuple and still refuses "100" for a number.
        return model.model_validate_json(json.dumps(document.data, allow_nan=False))
    except ValidationError as error:
        raise recipe_error(problems_of(error, document)) from None


def read_text(path: Path, *, kind: str = "a YAML file", max_bytes: int = MAX_BYTES) -> str:
    """Return the text of the file at `path`: a regular file, UTF-8, of at most `max_bytes`.

    Raises:
        RecipeError: for anything else. A pipe or a device is not opened: it could block
            forever or never end.
    """
    try:
        found = _kind_of_file(path.stat().st_mode)
        if found is not None:
            raise file_error(path, f"found {found}, expected {kind}")
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        reason = error.strerror or "cannot be read"
        hint = _hint(path) if isinstance(error, FileNotFoundError) else ""
        raise file_error(path, f"{reason}; expected {kind}{hint}") from error
    except ValueError as error:  # a NUL character, or half of a surrogate pair, in the name
        raise file_error(path, "found a name that no file can have") from error
    if len(content) > max_bytes:
        small = kind.replace("a ", "a small ", 1)
        raise file_error(path, f"found more than {max_bytes} bytes, expected {small}")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        text = f"found byte 0x{content[error.start]:02x}, expected UTF-8 text"
        raise file_error(path, text, line=line) from error


def _hint(path: Path) -> str:
    """Return which file beside `path` was probably meant, if one has nearly its name."""
    try:
        beside = [other.name for other in path.parent.glob(f"*{path.suffix}") if other != path]
    except (OSError, ValueError):  # the folder cannot be read, or no folder has such a name
        return ""
    meant = did_you_mean(path.name, beside)
    return f" (did you mean {meant}?)" if meant else ""


def _kind_of_file(mode: int) -> str | None:
    """Return what the file is instead of a regular one, or None."""
    if stat.S_ISREG(mode):
        return None
    if stat.S_ISDIR(mode):
        return "a directory"
    return "a pipe, socket or device"
