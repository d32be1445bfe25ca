"""A YAML file as data, with the place of every key and the problems found in it."""

import difflib
import json
import re
from collections.abc import Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dreamfusion_kit.errors import RecipeError, printable, shortened

KeyPath = tuple[str | int, ...]
# What a YAML file can hold. `Any` stands for a nested Value: the tests check types at run
# time, which a recursive type does not allow.
Value = bool | int | float | str | list[Any] | dict[str, Any] | None

_PLAIN_KEY = re.compile(r"[\w.<>-]+")
_LONGEST_FOUND = 60
_LONGEST_FILE = 300
_LONGEST_KEY = 300
# difflib's time grows with the square of a word's length and with the number of candidates.
_LONGEST_WORD = 80
_MOST_CANDIDATES = 200


@dataclass(frozen=True)
class Place:
    """A line of a file. `prefix` is put before the key when the key came in as an override."""

    file: str
    line: int
    prefix: str = ""


@dataclass(frozen=True)
class Document:
    """The content of a YAML file, and the line of each value.

    `places` has the line of every mapping key and sequence item by its path; the empty
    path is the file itself.
    """

    data: dict[str, Value]
    places: Mapping[KeyPath, Place] = field(repr=False)

    def place(self, path: KeyPath) -> Place:
        """Return the place of `path`, or of the deepest part of it that exists."""
        while path not in self.places:
            path = path[:-1]
        return self.places[path]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a file. Prints as `file:line: key: text`, on one line."""

    place: Place
    path: KeyPath
    text: str

    def __str__(self) -> str:
        """Return the line that a user reads, whatever file, key and text contain."""
        where = f"{_tail(printable(self.place.file), _LONGEST_FILE)}:{self.place.line}"
        key = shortened(printable(self.place.prefix + dotted(self.path)), _LONGEST_KEY)
        text = printable(self.text)
        return f"{where}: {key}: {text}" if key else f"{where}: {text}"


def file_error(path: Path, text: str, *, line: int = 1) -> RecipeError:
    """Return the error of one problem of the file at `path`, or of its `line`."""
    return recipe_error([Problem(Place(str(path), line), (), text)])


def recipe_error(problems: Iterable[Problem]) -> RecipeError:
    """Return the error that reports all `problems`, one per line, in the files' order."""
    ordered = sorted(problems, key=lambda problem: (problem.place.file, problem.place.line))
    return RecipeError("\n".join(dict.fromkeys(str(problem) for problem in ordered)))


class Complaints:
    """Collects the lines of several errors, each line once, to raise them together."""

    def __init__(self) -> None:
        """Start without any."""
        self._lines: dict[str, None] = {}  # an ordered set: assets share recipes and their problems

    @contextmanager
    def collected(self) -> Generator[None, None, None]:
        """Keep the lines of a RecipeError for later."""
        try:
            yield
        except RecipeError as error:
            self.add(str(error).splitlines())

    def add(self, lines: Iterable[str]) -> None:
        """Add lines."""
        self._lines |= dict.fromkeys(lines)

    def raise_any(self) -> None:
        """Raise a RecipeError with every line, if there is one."""
        if self._lines:
            raise RecipeError("\n".join(self._lines))


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
    # Cut before as well as after: a value may have a megabyte and be quoted by many problems.
    short = value[:_LONGEST_FOUND] if isinstance(value, str) else value
    return shortened(json.dumps(short, ensure_ascii=False), _LONGEST_FOUND)


def did_you_mean(word: str, candidates: Collection[str]) -> str | None:
    """Return the candidate that `word` was probably meant to be, unless there are too many."""
    if len(word) > _LONGEST_WORD or len(candidates) > _MOST_CANDIDATES:
        return None
    matches = difflib.get_close_matches(word, candidates, n=1)
    return matches[0] if matches else None


def _tail(text: str, longest: int) -> str:
    return text if len(text) <= longest else "..." + text[3 - longest :]
