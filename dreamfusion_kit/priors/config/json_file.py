"""The one reader of the JSON files of pretrained models, which are untrusted.

The libraries read the same files later, without bounds, so a prior's files are read here first.
"""

import json
from pathlib import Path
from typing import Any, Never, TypeVar, cast

from pydantic import BaseModel, ValidationError

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.printable import printable

CONFIG_BYTES = 1024**2  # published ones take a few kilobytes
VOCABULARY_BYTES = 64 * 1024**2  # UMT5's tokenizer.json is 17 MB
_MAX_DEPTH = 32

Model = TypeVar("Model", bound=BaseModel)


def read_object(
    path: Path, *, limit: int = CONFIG_BYTES, place: str | None = None, finite: bool = True
) -> dict[str, Any]:
    """Return the object in a JSON file of at most `limit` bytes.

    `place` is what messages call the file, if that is more than its folder and name. Without
    `finite`, -Infinity is a number, as in the files that diffusers' DPM-Solvers write.

    Raises WeightsError if it cannot be read, nests deeper than 32 levels, repeats a key,
    or holds a number that is not finite: readers would disagree on its value.
    """
    try:
        size = path.stat().st_size
        if size > limit:
            raise ValueError(f"{size} bytes, more than {limit}")
        value = json.loads(
            path.read_text(encoding="utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_number if finite else _no_number_but_negative_infinity,
            parse_float=_finite,
        )
        if not isinstance(value, dict):
            raise ValueError(f"a {type(value).__name__} and not an object")
        _check_depth(value)
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise WeightsError(
            f"{place or where(path)}: cannot be read ({printable(reason)}); expected a JSON "
            f"object of at most {limit} bytes; fetch the model again or choose another source"
        ) from None
    return cast("dict[str, Any]", value)


def checked(model: type[Model], values: object, place: str) -> Model:
    """Return `values` as `model`, or raise WeightsError with every key that does not fit."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise WeightsError(
            "\n".join(
                f"{place}: {_key(problem)} is {_found(problem)}; expected "
                f"{_expected(problem)}; choose another source for this model"
                for problem in error.errors(include_url=False)[:5]
            )
        ) from None


def where(path: Path) -> str:
    """Return a path's folder and name, as shown in messages."""
    return f"{path.parent.name}/{path.name}"


def _key(problem: Any) -> str:
    return printable(".".join(str(part) for part in problem["loc"])) or "its content"


def _found(problem: Any) -> str:  # pydantic's own record
    if not problem["loc"]:
        return "of keys that do not fit"
    return "missing" if problem["type"] == "missing" else printable(repr(problem["input"]), 80)


def _expected(problem: Any) -> str:
    if problem["type"] == "missing":
        return "this key"
    message: str = problem["msg"]
    for start in ("Input should be ", "Value error, "):
        message = message.removeprefix(start)
    return printable(message)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} stands there twice")
    return found


def _no_number(name: str) -> Never:
    raise ValueError(f"{name} is not a number of JSON")


def _no_number_but_negative_infinity(name: str) -> float:
    return float(name) if name == "-Infinity" else _no_number(name)


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is beyond every number")
    return value


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(_MAX_DEPTH):
        nested = [item for item in level if isinstance(item, dict | list)]
        if not nested:
            return
        level = [
            item
            for parent in nested
            for item in (parent.values() if isinstance(parent, dict) else parent)
        ]
    raise ValueError(f"nests deeper than {_MAX_DEPTH} levels")
