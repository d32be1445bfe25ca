"""Strict YAML: safe, no anchors or tags, no duplicate keys, every key's line kept.

Plain scalars are read as DVC's reader (ruamel.yaml, YAML 1.2) reads them, because DVC
compares parameters by its own reading of the same file: 1e-3 is a number, `on` is text,
010 is ten. The one exception is dates, which stay text.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from dreamfusion_kit.recipe.document import Document, KeyPath, Place, Problem, Value, recipe_error

MAX_DEPTH = 32
_MAX_DIGITS = 100  # of an integer; Python refuses to print thousands

_TAG = "tag:yaml.org,2002:"
_SCALARS = (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    (
        "float",
        r"[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|[-+]?\.[0-9_]+(?:[eE][-+][0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("int", r"[-+]?(?:0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|[0-9_]+)", "-+0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
)
_BARE = re.compile(r"\w(?:[\w' -]*\w)?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d?-\d\d?.*", re.ASCII)  # text here, and a date to DVC
# YAML reads some of these as a line's end, even in quotes, and others not at all. Lone surrogates
# are bytes of a command line that are not UTF-8.
_ESCAPED = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader with YAML 1.2 scalars; composes nodes, never constructs objects."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - PyYAML's own class attribute, made empty here
    _depth = 0

    # Any: PyYAML passes an int, a node or None here; its stubs only know the int.
    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        if event.anchor is not None:
            raise _refusal("an anchor or alias (& or *)", "values written out", event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise _refusal(f"the tag {event.tag}", "plain YAML without tags", event.start_mark)
        if self._depth >= MAX_DEPTH:
            raise _refusal(f"more than {MAX_DEPTH} levels", "flatter data", event.start_mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def scan_flow_scalar_non_spaces(self, double: bool, start_mark: yaml.Mark) -> list[str]:
        try:
            return super().scan_flow_scalar_non_spaces(double, start_mark)
        except (ValueError, OverflowError):  # from chr()
            mark = self.get_mark()
            raise _refusal("an escape beyond U+10FFFF", "a character", mark) from None

    def scan_yaml_directive_number(self, start_mark: yaml.Mark) -> int:
        try:
            return super().scan_yaml_directive_number(start_mark)
        except ValueError:  # from int(), which refuses thousands of digits
            mark = self.get_mark()
            raise _refusal("a huge number as %YAML version", "%YAML 1.2", mark) from None


for _name, _pattern, _first in _SCALARS:
    _StrictLoader.add_implicit_resolver(
        _TAG + _name, re.compile(rf"^(?:{_pattern})$"), list(_first)
    )


class _StrictDumper(yaml.SafeDumper):
    """Writes what `_StrictLoader` reads back: lists on one line, ambiguous text in quotes."""

    yaml_implicit_resolvers = _StrictLoader.yaml_implicit_resolvers


_StrictDumper.add_representer(
    list,
    lambda dumper, value: dumper.represent_sequence(_TAG + "seq", value, flow_style=True),
)


def dump(data: Mapping[str, Value]) -> str:
    """Return `data` as YAML, in its own order, that reads back as the same data."""
    return yaml.dump(
        dict(data), Dumper=_StrictDumper, sort_keys=False, allow_unicode=True, width=100
    )


def _refusal(found: str, expected: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=f"found {found}, expected {expected}", problem_mark=mark)


def parse(text: str, file: str) -> Document:
    """Read `text`, named `file` in messages, as one mapping.

    Raises:
        RecipeError: with all duplicate keys, odd keys and unusable scalars at once, or
            with the first place where the text is not valid YAML.
    """
    node = compose(text, file)
    reader = _NodeReader(file)
    data = reader.read(node, ())
    if not isinstance(data, dict):
        found = "an empty file" if data is None else f"a {_kind(node)}"
        reader.report((), node, f"found {found}, expected a mapping of keys")
    if reader.problems or not isinstance(data, dict):
        raise recipe_error(reader.problems)
    return Document(data, {(): Place(file, 1), **reader.places})


def parse_value(text: str, file: str) -> Value:
    """Read `text` as whatever YAML it is: a mapping, a list or a single value.

    Raises:
        RecipeError: as `parse` does.
    """
    reader = _NodeReader(file)
    data = reader.read(compose(text, file), ())
    if reader.problems:
        raise recipe_error(reader.problems)
    return data


def scalar(text: str) -> str:
    """Return `text` in a form that YAML reads back: bare if that is safe, else in quotes."""
    patterns = (_DATE, *(pattern for _, pattern, _ in _SCALARS))
    bare = _BARE.fullmatch(text) and not any(re.fullmatch(each, text) for each in patterns)
    if bare:
        return text
    quoted = json.dumps(text, ensure_ascii=False)
    return _ESCAPED.sub(lambda char: f"\\u{ord(char[0]):04x}", quoted)


def compose(text: str, file: str) -> yaml.Node | None:
    """Return the node tree of `text`, whose marks give every position."""
    loader = None
    try:
        loader = _StrictLoader(text)
        return loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        problem = Problem(Place(file, line), (), _in_words(error.problem or "found no YAML"))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        found = f"found the character U+{error.character:04X}"
        problem = Problem(Place(file, line), (), f"{found}, expected printable text")
    finally:
        if loader is not None:
            loader.dispose()
    raise recipe_error([problem])


def _in_words(problem: str) -> str:
    """Return PyYAML's `problem` as found and expected, if its own message does not say so."""
    return _PROBLEMS.get(problem, problem)


_PROBLEMS = {
    "found character '\\t' that cannot start any token": "found a tab, expected spaces before a "
    "key or value",
    **{
        f"found character {char!r} that cannot start any token": f"found {char} at the start of a "
        "value, expected the value in quotes"
        for char in "@`%"
    },
    "but found another document": "found another document (---), expected one per file",
    "mapping values are not allowed here": "found `: ` inside a value, expected the value in "
    "quotes, or one key per line with the same indent as its neighbours",
    "could not find expected ':'": "found a line without `: ` after its key, expected `key: value`",
    "expected <block end>, but found '<block mapping start>'": "found a key with another indent "
    "than its neighbours, expected the same one",
    "expected <block end>, but found '<scalar>'": "found text after the end of a value, expected "
    "the whole value inside the quotes or brackets",
}


class _NodeReader:
    """Turns nodes into data and collects places and problems on the way."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.places: dict[KeyPath, Place] = {}
        self.problems: list[Problem] = []

    def report(self, path: KeyPath, node: yaml.Node | None, text: str) -> None:
        line = node.start_mark.line + 1 if node else 1
        self.problems.append(Problem(Place(self.file, line), path, text))

    def read(self, node: yaml.Node | None, path: KeyPath) -> Value:
        match node:
            case yaml.MappingNode():
                return self._mapping(node, path)
            case yaml.SequenceNode():
                return [self._item(item, (*path, i)) for i, item in enumerate(node.value)]
            case yaml.ScalarNode():
                return self._scalar(node, path)
            case _:
                return None

    def _item(self, node: yaml.Node, path: KeyPath) -> Value:
        self.places[path] = Place(self.file, node.start_mark.line + 1)
        return self.read(node, path)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> Value:
        data: dict[str, Value] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            if key is None:
                continue
            if key in data:
                first = self.places[*path, key].line
                self.report((*path, key), key_node, f"duplicate key, first on line {first}")
                continue
            self.places[*path, key] = Place(self.file, key_node.start_mark.line + 1)
            data[key] = self.read(value_node, (*path, key))
        return data

    def _key(self, node: yaml.Node, path: KeyPath) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            self.report(path, node, f"found a {_kind(node)} as a key, expected text")
            return None
        if node.tag == _TAG + "str":
            key = self._scalar(node, path)
            return key if isinstance(key, str) else None
        if node.value:
            found, expected = f"the key {node.value[:40]}", "text: put it in quotes"
        else:
            found, expected = "a value without a key", "`key: value`"
        self.report(path, node, f"found {found}, expected {expected}")
        return None

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Value:
        text = node.value
        try:
            value = _CONVERT[node.tag.removeprefix(_TAG)](text)
        except ValueError:
            self.report(path, node, f"found {text[:40]}, expected a number that can be read")
            return None
        if isinstance(value, float) and not math.isfinite(value):
            self.report(path, node, f"found {text}, expected a finite number")
            return None
        if isinstance(value, str) and any("\ud800" <= char <= "\udfff" for char in value):
            self.report(path, node, "found half of a surrogate pair, expected Unicode text")
            return None
        return value


def _int(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError
    digits = text.replace("_", "").lstrip("+-")
    base = {"0b": 2, "0o": 8, "0x": 16}.get(digits[:2], 10)
    magnitude = int(digits if base == 10 else digits[2:], base)
    return -magnitude if text.startswith("-") else magnitude


def _float(text: str) -> float:
    # Python spells infinity and not-a-number without YAML's dot.
    bare = text.replace("_", "").lower()
    return float(bare.replace(".", "", 1) if bare.endswith(("inf", "nan")) else bare)


_CONVERT: dict[str, Callable[[str], Value]] = {
    "bool": lambda text: text.lower() == "true",
    "int": _int,
    "float": _float,
    "null": lambda _: None,
    "str": str,
}


def _kind(node: yaml.Node | None) -> str:
    match node:
        case yaml.MappingNode():
            return "mapping"
        case yaml.SequenceNode():
            return "list"
        case _:
            return "single value"
