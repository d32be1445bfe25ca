"""Recipes by name or file, with overrides of single keys."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.document import Document, KeyPath, Place, Value, did_you_mean
from dreamfusion_kit.recipe.load import load_yaml, validate
from dreamfusion_kit.recipe.overrides import paths_inside, with_overrides
from dreamfusion_kit.recipe.schema import Recipe
from dreamfusion_kit.recipe.workspace import NAME
from dreamfusion_kit.workspace import shipped

_OVERRIDES = "overrides"


def shipped_recipes() -> list[str]:
    """Return the names of the recipes that come with the kit, sorted."""
    return sorted(path.stem for path in shipped.recipes().glob("*.yaml"))


def load_recipe(name_or_path: str | Path, overrides: Mapping[str, object] | None = None) -> Recipe:
    """Return a recipe, checked.

    Args:
        name_or_path: A name from `shipped_recipes`, or the path of a YAML file. A string is a
            name if it could be one; a path in the current folder is written "./mine.yaml" or
            "mine.yaml".
        overrides: Values by dotted key, as in an asset of a suite:
            `{"optimize.num_steps": 200}`.

    Raises:
        RecipeError: with one line per problem of the file or the overrides.
    """
    document = load_yaml(_path(name_or_path))
    recipe = validate(document, Recipe)
    if not overrides:
        return recipe
    return validate(with_overrides(document, _document(overrides), (_OVERRIDES,)), Recipe)


def _path(name_or_path: str | Path) -> Path:
    """Return the file that `name_or_path` means."""
    if isinstance(name_or_path, Path) or not re.fullmatch(NAME, name_or_path):
        return Path(name_or_path)
    names = shipped_recipes()
    if name_or_path not in names:
        meant = did_you_mean(name_or_path, names)
        hint = f" (did you mean {meant}?)" if meant else ""
        raise RecipeError(
            f"recipe {name_or_path}: does not come with the kit{hint}; expected the path of a "
            f"YAML file, or one of {', '.join(names)}"
        )
    return shipped.recipes() / f"{name_or_path}.yaml"


def _document(overrides: Mapping[str, object]) -> Document:
    """Return overrides as the document of a suite; the "line" is the entry's number."""
    try:
        data: dict[str, Value] = json.loads(json.dumps(dict(overrides), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise RecipeError(
            f"{_OVERRIDES}: found a value that YAML cannot say ({error}); expected finite numbers, "
            "text, booleans, None, lists and mappings"
        ) from None
    places: dict[KeyPath, Place] = {(): Place("load_recipe", 1)}
    for number, (key, value) in enumerate(data.items(), start=1):
        for inner in paths_inside(value):
            places[(_OVERRIDES, key, *inner)] = Place("load_recipe", number)
    return Document({_OVERRIDES: data}, places)
