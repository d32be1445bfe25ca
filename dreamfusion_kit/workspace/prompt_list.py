"""Lists of prompts from other sources: text, JSON, CSV and YAML.

    .txt           one prompt a line
    .json .yaml    a list of prompts; or of objects with `prompt` and optionally `id`, `recipe` and
                   `seed`; or an object of such lists, as in prompt libraries
    .csv           a column `prompt` and optionally `id`, `recipe` and `seed`

White space at a prompt's ends is dropped. Anything else unexpected is a problem, and all
problems of a file are reported together.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dreamfusion_kit.errors import RecipeError, shortened
from dreamfusion_kit.recipe import yaml_text
from dreamfusion_kit.recipe.document import Value
from dreamfusion_kit.recipe.load import read_text

MAX_BYTES = 4_000_000
MAX_PROMPTS = 10_000
_COLUMNS = ("prompt", "id", "recipe", "seed")
_MAX_PROBLEMS = 20


@dataclass(frozen=True)
class Entry:
    """A prompt of a list; `place` is its position in the file. None means not given."""

    place: str
    prompt: str
    id: str | None = None
    recipe: str | None = None
    seed: int | None = None


def read(path: Path) -> list[Entry]:
    """Return the prompts of the file at `path`, in its order.

    Raises:
        RecipeError: with one line per problem, such as an unknown kind of file.
    """
    text = read_text(path, kind="a list of prompts", max_bytes=MAX_BYTES).removeprefix("\ufeff")
    match path.suffix.lower():
        case ".txt":
            found = _lines(text)
        case ".json":
            found = _listed(_json(path, text))
        case ".yaml" | ".yml":
            found = _listed(yaml_text.parse_value(text, str(path)))
        case ".csv":
            found = _rows(text)
        case other:
            raise RecipeError(
                f"{path}: found a {other or 'file without ending'}, expected .txt, .json, .csv or "
                ".yaml"
            )
    return _checked(path, found)


def report(path: Path, problems: list[str]) -> RecipeError:
    """Return the error with a line per problem of the file at `path`; of many, the first ones."""
    lines = [f"{path}: {problem}" for problem in problems[:_MAX_PROBLEMS]]
    if len(problems) > _MAX_PROBLEMS:
        lines.append(f"{path}: and {len(problems) - _MAX_PROBLEMS} more problems")
    return RecipeError("\n".join(" ".join(line.splitlines()) for line in lines))


class _UnreadableError(Exception):
    """A problem of the whole file, or of all of it after one place."""


_Found = tuple[str, Value]  # place and value


def _checked(path: Path, found: Iterator[_Found]) -> list[Entry]:
    entries: list[Entry] = []
    problems: list[str] = []
    try:
        for place, value in found:
            if len(entries) == MAX_PROMPTS:
                raise _UnreadableError(f"found more than {MAX_PROMPTS} prompts, expected fewer")
            try:
                entries.append(_entry(place, value))
            except ValueError as error:
                problems.append(f"{place}: {error}")
    except _UnreadableError as error:
        problems.append(str(error))
    if not entries and not problems:
        problems.append("found no prompt, expected one or more")
    if problems:
        raise report(path, problems)
    return entries


def _entry(place: str, value: Value) -> Entry:
    fields: Value = {"prompt": value} if isinstance(value, str) else value
    if not isinstance(fields, dict):
        raise ValueError(f"found {_shown(value)}, expected a prompt or an object with one")
    if unknown := [key for key in fields if key not in _COLUMNS]:
        raise ValueError(f"found the key {_shown(unknown[0])}, expected {', '.join(_COLUMNS)}")
    seed = fields.get("seed")
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
        raise ValueError(f"seed: found {_shown(seed)}, expected a whole number")
    prompt = _text(fields, "prompt")
    if prompt is None:
        raise ValueError("found no prompt, expected one")
    return Entry(place, prompt.strip(), _text(fields, "id"), _text(fields, "recipe"), seed)


def _text(fields: dict[str, Value], key: str) -> str | None:
    value = fields.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{key}: found {_shown(value)}, expected text")
    if value is not None and any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError(f"{key}: found half of a surrogate pair, expected Unicode text")
    return value


def _lines(text: str) -> Iterator[_Found]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"line {number}", line


def _listed(value: Value) -> Iterator[_Found]:
    """Yield the items of a list, or of the lists of an object."""
    if isinstance(value, dict):
        for name, items in value.items():
            if not isinstance(items, list):
                raise _UnreadableError(
                    f"{shortened(name, 60)}: found {_shown(items)}, expected a list of prompts"
                )
            yield from ((f"{name}[{index}]", item) for index, item in enumerate(items))
    elif isinstance(value, list):
        yield from ((f"[{index}]", item) for index, item in enumerate(value))
    else:
        yield "the whole", value


def _rows(text: str) -> Iterator[_Found]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    header: list[str] | None = None
    try:
        for row in reader:
            place = f"line {reader.line_num}"
            if not row:
                continue
            if header is None:
                header = [name.strip() for name in row]
                if "prompt" not in header or len(set(header)) < len(header):
                    raise _UnreadableError(
                        f"{place}: found the columns {_shown(header)}, expected {_COLUMNS[0]} "
                        f"and, where wanted, {', '.join(_COLUMNS[1:])}, each once"
                    )
            elif len(row) != len(header):
                raise _UnreadableError(
                    f"{place}: found {len(row)} columns, expected {len(header)}; a prompt with a "
                    "comma stands in quotes"
                )
            else:
                yield place, _cells(dict(zip(header, row, strict=True)))
    except csv.Error as error:
        raise _UnreadableError(f"line {reader.line_num}: {error}, expected CSV") from None


def _cells(row: dict[str, str]) -> Value:
    """Return a row without its empty cells, its seed as a number if it is one."""
    cells: dict[str, Value] = {key: cell for key, cell in row.items() if cell.strip()}
    seed = row.get("seed", "").strip()
    if seed.isascii() and seed.isdecimal() and len(seed) < 20:
        cells["seed"] = int(seed)
    return cells


def _json(path: Path, text: str) -> Value:
    def once(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            raise ValueError("found a key twice, expected each once")
        return dict(pairs)

    parse: Callable[..., Value] = json.loads
    try:
        return parse(text, object_pairs_hook=once)
    except RecursionError:
        raise RecipeError(f"{path}: found too many levels, expected a flat list") from None
    except ValueError as error:  # includes JSONDecodeError, and integers with too many digits
        raise RecipeError(f"{path}: {error}, expected JSON") from None


def _shown(value: object) -> str:
    return shortened(ascii(value), 60)
