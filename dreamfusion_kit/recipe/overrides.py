"""Overrides: single keys of a recipe that one asset sets differently.

A key is dotted; an item of a list is named by its number, as in `refine.phases.0.optimize`.
"""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from dreamfusion_kit.recipe.document import (
    Document,
    KeyPath,
    Place,
    Problem,
    Value,
    did_you_mean,
    dotted,
    recipe_error,
)
from dreamfusion_kit.recipe.renamed import renaming
from dreamfusion_kit.recipe.yaml_text import MAX_DEPTH

ANOTHER_MODEL = "found another model; models are fetched per recipe; expected a recipe of its own"


def with_overrides(recipe: Document, suite: Document, at: KeyPath) -> Document:
    """Return `recipe` with the mapping of dotted keys that `suite` has at path `at` applied.

    The result is not validated yet; its places point at the suite wherever the suite
    decided the value, so that later problems name the line that caused them.

    Raises:
        RecipeError: for keys that the recipe does not have, that contain each other, or that name
            a different pretrained model.
    """
    overrides = _mapping_at(suite.data, at)
    if not overrides:
        return recipe
    problems = [
        Problem(suite.place((*at, key)), (*at, key), text)
        for key in overrides
        if (text := _refusal(key, recipe.data, overrides)) is not None
    ]
    if problems:
        raise recipe_error(problems)
    data = copy.deepcopy(recipe.data)
    places = dict(recipe.places)
    for key, value in overrides.items():
        path = _path(key, data)
        section: Any = _value_at(data, path[:-1])
        _forget_places(places, path, section[path[-1]])
        section[path[-1]] = value
        _point_places(places, path, value, suite, (*at, key))
    return Document(data, places)


def _refusal(key: str, data: dict[str, Value], all_keys: Mapping[str, Value]) -> str | None:
    """Return what is wrong with the override `key`, if anything."""
    parts = key.split(".", MAX_DEPTH)
    outer = (".".join(parts[:depth]) for depth in range(1, len(parts)))
    inside = next((other for other in outer if other in all_keys), None)
    if inside is not None:
        return f"found beside {inside}, which contains it; expected one of the two"
    node: Value = data
    for depth, part in enumerate(parts):
        if isinstance(node, list):
            if part not in map(str, range(len(node))):  # one spelling each: never 00, or 10**5000
                where = dotted(tuple(parts[:depth]))
                return f"unknown item: {where} has {len(node)}, numbered from 0"
            node = node[int(part)]
            continue
        if not isinstance(node, dict):
            return f"unknown key: {dotted(tuple(parts[:depth]))} is a value without keys"
        if part not in node:
            if (advice := renaming(tuple(parts[: depth + 1]))) is not None:
                return f"renamed key; {advice}"
            meant = did_you_mean(part, node)
            hint = f" (did you mean {dotted((*parts[:depth], meant))}?)" if meant else ""
            return f"unknown key of the recipe{hint}"
        node = node[part]
    if key in ("prior", "prior.kind") or key.startswith("prior.source"):
        return ANOTHER_MODEL
    return None


def _path(key: str, data: Value) -> KeyPath:
    """Return a dotted key, which the data has, as a path: numbers where there are lists."""
    path: KeyPath = ()
    for part in key.split("."):
        node = _value_at(data, path)
        path = (*path, int(part) if isinstance(node, list) else part)
    return path


def _value_at(data: Value, path: KeyPath) -> Value:
    node: Any = data
    for part in path:
        node = node[part]
    return node


def _mapping_at(data: dict[str, Value], path: KeyPath) -> dict[str, Value]:
    node = _value_at(data, path)
    assert isinstance(node, dict)
    return node


def _forget_places(places: dict[KeyPath, Place], path: KeyPath, old: Value) -> None:
    """Drop the places of `path` and of everything inside its present value `old`."""
    for inner in paths_inside(old):
        places.pop(path + inner, None)


def _point_places(
    places: dict[KeyPath, Place], path: KeyPath, value: Value, suite: Document, source: KeyPath
) -> None:
    """Point `path`, all inside its new `value` and all around it, at the suite's lines."""
    prefix = dotted(source[:-1]) + "."
    for inner in paths_inside(value):
        place = suite.places[source + inner]
        places[path + inner] = Place(place.file, place.line, prefix)
    # A check across several keys is reported at the section around them. The recipe alone
    # passed it, so the override is the cause.
    line = suite.place(source)
    for depth in range(1, len(path)):
        places[path[:depth]] = Place(line.file, line.line, prefix)


def paths_inside(value: Value) -> Iterator[KeyPath]:
    """Walk the paths of `value` and of everything in it, relative to `value`.

    Walking the data, rather than all places of the file, avoids a cost that grows with the
    number of assets times the size of the suite.
    """
    yield ()
    match value:
        case dict():
            items = value.items()
        case list():
            items = enumerate(value)
        case _:
            return
    for name, inner in items:
        for path in paths_inside(inner):
            yield (name, *path)
