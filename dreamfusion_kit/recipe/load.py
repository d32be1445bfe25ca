"""Files into checked recipes. Every problem of a file is reported at once."""

import json
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe import yaml_text
from dreamfusion_kit.recipe.document import Document, Place, Problem, recipe_error
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
    """Return what the YAML file at `path` says, with the line of every key."""
    return yaml_text.parse(read_text(path), str(path))


def validate(document: Document, model: type[SectionT]) -> SectionT:
    """Return `document` as `model`, or raise all its problems in one RecipeError."""
    try:
        # As JSON, strict mode takes a list for a tuple and still refuses "100" for a number.
        return model.model_validate_json(json.dumps(document.data, allow_nan=False))
    except ValidationError as error:
        raise recipe_error(problems_of(error, document)) from None


def read_text(path: Path) -> str:
    """Return the text of the file at `path`: UTF-8, at most a megabyte."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise RecipeError(f"{path}: {reason}; expected a YAML file") from error
    if len(content) > MAX_BYTES:
        raise RecipeError(f"{path}: found more than {MAX_BYTES} bytes, expected a small YAML file")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        text = f"found byte 0x{content[error.start]:02x}, expected UTF-8 text"
        raise recipe_error([Problem(Place(str(path), line), (), text)]) from error
