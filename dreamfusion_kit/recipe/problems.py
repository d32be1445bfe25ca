"""Turns pydantic's errors into problems that name the user's own key and line."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dreamfusion_kit.recipe.document import Document, KeyPath, Problem, Value, did_you_mean, quoted
from dreamfusion_kit.recipe.renamed import new_name, renaming
from dreamfusion_kit.recipe.schema.base import METRIC_KEY, NUMBER_TAG, UNION_TAGS
from dreamfusion_kit.recipe.schema.source import REPOSITORY

Missing = dict[KeyPath, dict[str | int, None]]  # names of missing keys, in order, by their section
Context = Mapping[str, Any]  # pydantic's details of an error, a different set for each type

# The schema's patterns in words. A test keeps the two in step.
PATTERNS = {
    "^[a-z0-9_]{1,64}$": "1 to 64 of a-z, 0-9 and _",
    "^[a-z0-9_][a-z0-9_-]{0,63}$": "1 to 64 of a-z, 0-9, _ and -, without - at the start",
    "^[0-9a-f]{40}$": "a commit of 40 hex digits",
    "^[0-9a-f]{64}$": "a SHA-256 of 64 hex digits",
    REPOSITORY: "a repository as owner/name",
    METRIC_KEY: "a metric's dotted key",
}
# With more unknown keys than this, nobody reads them one by one, and searching for what was
# meant would take seconds.
_MOST_HINTS = 100

_EXPECTED: dict[str, Callable[[Context], str]] = {
    "greater_than": lambda context: f"a number above {_number(context['gt'])}",
    "greater_than_equal": lambda context: f"a number of at least {_number(context['ge'])}",
    "less_than": lambda context: f"a number below {_number(context['lt'])}",
    "less_than_equal": lambda context: f"a number of at most {_number(context['le'])}",
    "finite_number": lambda _: "a finite number",
    "float_type": lambda _: "a number",
    "int_type": lambda _: "a whole number",
    "int_from_float": lambda _: "a whole number",
    "bool_type": lambda _: "true or false",
    "string_type": lambda _: "text",
    "string_too_short": lambda context: f"at least {context['min_length']} character(s)",
    "string_too_long": lambda context: f"at most {context['max_length']} characters",
    "string_pattern_mismatch": lambda context: PATTERNS[context["pattern"]],
    "literal_error": lambda context: context["expected"],
    "tuple_type": lambda _: "a list",
    "too_short": lambda context: f"at least {context['min_length']} item(s)",
    "too_long": lambda context: f"at most {context['max_length']} item(s)",
    "dict_type": lambda _: "a mapping",
    "model_type": lambda _: "a mapping of keys",
    "model_attributes_type": lambda _: "a mapping of keys",
    "union_tag_invalid": lambda context: context["expected_tags"],
}


def problems_of(error: ValidationError, document: Document) -> list[Problem]:
    """Return the problems of `document` that `error` reports.

    A misspelt key is one problem, not two: every key is required, so the key that was
    meant is among the missing ones, and is then not reported a second time.
    """
    details = error.errors(include_url=False)
    paths = [_key_path(detail, document.data) for detail in details]
    missing: Missing = {}
    for path, detail in zip(paths, details, strict=True):
        if detail["type"] in _MISSING_TYPES:
            missing.setdefault(path[:-1], {})[path[-1]] = None
    hints = sum(detail["type"] == "extra_forbidden" for detail in details) <= _MOST_HINTS
    problems: list[Problem] = []
    for path, detail in zip(paths, details, strict=True):
        text = _text(detail)
        if detail["type"] == "extra_forbidden":
            text = _unknown(path, missing, hints=hints)
        problems.append(Problem(document.place(path), path, text))
    return [p for p in problems if p.text != _MISSING or p.path[-1] in missing[p.path[:-1]]]


_MISSING = "missing key"
_MISSING_TYPES = ("missing", "union_tag_not_found")


def _unknown(path: KeyPath, missing: Missing, *, hints: bool) -> str:
    """Return the problem of a key that the schema does not have."""
    if (advice := renaming(path)) is not None:
        missing.get(path[:-1], {}).pop(new_name(path) or "", None)
        return f"renamed key; {advice}"
    meant = _take_meant(path, missing) if hints else None
    return f"unknown key (did you mean {meant}?)" if meant else "unknown key"


def _take_meant(path: KeyPath, missing: Missing) -> str | None:
    """Return the missing sibling that `path` misspells, and take it out of `missing`."""
    siblings = missing.get(path[:-1], {})
    meant = did_you_mean(str(path[-1]), [str(name) for name in siblings])
    if meant is not None:
        del siblings[meant]
    return meant


def _key_path(detail: ErrorDetails, data: Value) -> KeyPath:
    """Return the error's path without pydantic's additions: union tags and "[key]"."""
    path: KeyPath = ()
    node = data
    for part in detail["loc"]:
        if part in (*UNION_TAGS, "[key]"):
            continue
        if isinstance(node, dict) and part not in node and part == node.get("kind"):
            continue
        path = (*path, part)
        node = _child(node, part)
    return (*path, "kind") if detail["type"].startswith("union_tag_") else path


def _child(node: Value, part: str | int) -> Value:
    match node, part:
        case dict(), str():
            return node.get(part)
        case list(), int() if part < len(node):
            return node[part]
        case _:
            return None


def _text(detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    match detail["type"]:
        case "missing" if isinstance(detail["loc"][-1], int):
            return "missing list item"
        case "missing" | "union_tag_not_found":
            return _MISSING
        case "value_error":
            return str(context["error"])
        case "union_tag_invalid":
            found: Value = context["tag"]
        case _:
            found = detail["input"]
    expected = _EXPECTED.get(detail["type"])
    if expected is None:
        return f"found {_found(found)}: {detail['msg']}"
    return f"found {_found(found)}, expected {expected(context)}{_advice(detail)}"


def _advice(detail: ErrorDetails) -> str:
    """Return how to write what was probably meant, if the value shows it."""
    match detail["type"], detail["input"]:
        case "string_type", bool() | int() | float():
            return ": put it in quotes"
        case "int_type" | "int_from_float", float() as number if number.is_integer():
            return f": write {number:.0f}"
        case "float_type", _ if NUMBER_TAG in detail["loc"]:
            return ", or a schedule such as {start: 0, end: 1, from_step: 0, to_step: 100}"
        case _:
            return ""


def _number(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


def _found(value: Value) -> str:
    match value:
        case None:
            return "nothing (null)"
        case dict():
            return "a mapping"
        case list() if len(value) > 6:
            return f"a list of {len(value)} items"
        case _:
            return quoted(value)
