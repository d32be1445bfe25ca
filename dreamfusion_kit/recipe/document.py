"""A YAML file as data plus the place of every key, and the problems found in it."""

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dreamfusion_kit.errors import RecipeError

KeyPath = tuple[str | int, ...]
# What a YAML file can say. Any stands for Value again: a type that names itself cannot be
# checked at run time, as the tests do.
Value = bool | int | float | str | list[Any] | dict[str, Any] | None

_PLAIN_KEY = re.compile(r"[\w.<>-]+")
_LONGEST_FOUND = 60


@dataclass(frozen=True)
class Place:
    """A line of a file. `prefix` is put before the key when the key came in as an override."""

    file: str
    line: int
    prefix: str = ""


@dataclass(frozen=True)
class Document:
    """What a YAML file says, and where it says it.

    `places` has the line of every mapping key and sequence item by its path; the empty
    path is the file itself.
    """

    data: dict[str, Value]
    places: Mapping[KeyPath, Place] = field(repr=False)

    def place(self, path: KeyPath) -> Place:
        """Return the place of `path`, or of the deepest part of it that is there."""
        while path not in self.places:
            path = path[:-1]
        return self.places[path]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a file. Prints as `file:line: key: text`."""

    place: Place
    path: KeyPath
    text: str

    def __str__(self) -> str:
        """Return the line that a user reads."""
        where = f"{self.place.file}:{self.place.line}"
        key = self.place.prefix + dotted(self.path)
        return f"{where}: {key}: {self.text}" if key else f"{where}: {self.text}"


def recipe_error(problems: Iterable[Problem]) -> RecipeError:
    """Return the error that reports all `problems`, one per line, in the files' order."""
    ordered = sorted(problems, key=lambda problem: (problem.place.file, problem.place.line))
    return RecipeError("\n".join(dict.fromkeys(str(problem) for problem in ordered)))


def dotted(path: KeyPath) -> str:
    """Return `camera.radius_range[0]` for ("camera", "radius_range", 0)."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _PLAIN_KEY.fullmatch(part) else quoted(part))
    return text


def quoted(value: Value) -> str:
    """Return `value` as JSON, cut short, so that text and number can be told apart."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_FOUND else text[: _LONGEST_FOUND - 3] + "..."


def did_you_mean(word: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that `word` was probably meant to be."""
    matches = difflib.get_close_matches(word, list(candidates), n=1)
    return matches[0] if matches else None
