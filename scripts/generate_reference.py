"""Write the pages of the documentation that are generated: commands and recipe keys.

python scripts/generate_reference.py [FOLDER]     docs/reference by default

Commands come from the help of the Typer app, recipe keys from its JSON Schema, and their values
from the shipped recipes. `make docs` runs this first; Git ignores what it writes.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from dreamfusion_kit import cli, command_name
from dreamfusion_kit.recipe.json_schema import recipe_json_schema
from dreamfusion_kit.recipe.load import load_yaml

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "docs" / "reference"
RECIPES = ROOT / "recipes"
DEFAULT_RECIPE = "toybox"

Schema = Mapping[str, Any]  # JSON Schema


def main(folder: Path = TARGET) -> None:
    """Write cli.md and recipe.md to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cli.md").write_text(command_page(), encoding="utf-8")
    (folder / "recipe.md").write_text(recipe_page(), encoding="utf-8")


# ---- commands


def command_page() -> str:
    """Return the page of every command's help."""
    parts = [
        "# Commands",
        "The help of every command. In a clone that is not installed, `python cli.py` stands for "
        f"`{command_name.INSTALLED}`.",
    ]
    for path, text in helps():
        parts += [f"## {' '.join(path)}", f"```text\n{text}\n```"]
    return "\n\n".join(parts) + "\n"


def helps() -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield every command and group with the text of its --help."""
    root = typer.main.get_command(cli.app)
    yield from _helps(root, root.make_context(command_name.INSTALLED, [], resilient_parsing=True))


def _helps(command: Any, context: Any) -> Iterator[tuple[tuple[str, ...], str]]:
    context.max_content_width = context.terminal_width = 80
    text = command.get_help(context).replace(command_name.CLONE, command_name.INSTALLED)
    yield tuple(context.command_path.split()), text.strip()
    if isinstance(command, TyperGroup):
        for name in command.list_commands(context):
            inner: Any = command.get_command(context, name)
            own = inner.make_context(name, [], parent=context, resilient_parsing=True)
            yield from _helps(inner, own)


# ---- recipe keys


def recipe_page() -> str:
    """Return the page of every key: its meaning, type, bounds, and value in the recipe toybox.

    A section that exists in several kinds has a heading per kind; sections inside sections follow
    the one that names them.
    """
    schema = json.loads(recipe_json_schema())
    values = {path.stem: load_yaml(path).data for path in sorted(RECIPES.glob("*.yaml"))}
    parts = [
        "# Recipe keys",
        "Every key of a recipe. A recipe has no defaults: each key stands in its file. The last "
        f"column is the value in `recipes/{DEFAULT_RECIPE}.yaml`, or in the first shipped recipe "
        "that has the key. A *schedule* is a number that changes with the step "
        "([how to write one](../recipes.md#schedules)).",
    ]
    for name, entry in schema["properties"].items():
        parts += [f"## {name}", entry["description"]]
        parts += _sections(schema, entry, (name,), values, set())
    return "\n\n".join(parts) + "\n"


def _sections(
    schema: Schema,
    entry: Schema,
    path: tuple[str, ...],
    values: Mapping[str, Any],
    seen: set[tuple[str, ...]],
) -> Iterator[str]:
    """Yield headings and tables of all sections that `entry` may hold, each place once."""
    for name in _section_names(entry):
        if (*path, name) in seen:
            continue
        seen.add((*path, name))
        section = schema["$defs"][name]
        kind = section["properties"].get("kind", {}).get("const")
        if len(path) > 1 or kind:
            yield f"### {'.'.join(path)}" + (f": {kind}" if kind else "")
        yield section["description"]
        yield _table(schema, section, path, kind, values)
        for key, inner in section["properties"].items():
            yield from _sections(schema, inner, (*path, key), values, seen)


def _section_names(entry: Schema) -> list[str]:
    """Return the sections among what an entry may be; schedules are numbers here."""
    return [name for name in _references(entry) if not name.endswith("Schedule")]


def _references(entry: Schema) -> list[str]:
    if "$ref" in entry:
        return [entry["$ref"].rpartition("/")[2]]
    choices = [*entry.get("oneOf", []), *entry.get("anyOf", [])]
    choices += [entry["items"]] if "items" in entry else []
    return [name for choice in choices for name in _references(choice)]


def _table(
    schema: Schema,
    section: Schema,
    path: tuple[str, ...],
    kind: str | None,
    values: Mapping[str, Any],
) -> str:
    rows = ["| key | type | meaning | value |", "|---|---|---|---|"]
    for key, entry in section["properties"].items():
        cells = [
            f"`{key}`",
            _type(schema, entry),
            _meaning(schema, entry),
            _value(values, (*path, key), kind),
        ]
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows)


def _meaning(schema: Schema, entry: Schema) -> str:
    """Return what a key is for; a section without a description has that of its class."""
    text = entry.get("description") or schema["$defs"][_section_names(entry)[0]]["description"]
    return " ".join(text.split())


def _type(schema: Schema, entry: Schema) -> str:
    """Return an entry's type with its bounds, in words."""
    if "const" in entry:
        return f"`{entry['const']}`"
    if "enum" in entry:
        return " or ".join(f"`{value}`" for value in entry["enum"])
    choices = entry.get("oneOf") or entry.get("anyOf")
    if choices:
        words = [_type(schema, choice) for choice in choices]
        return " or ".join(dict.fromkeys(words))
    if "$ref" in entry:
        name = entry["$ref"].rpartition("/")[2]
        if name.endswith("Schedule"):
            return "schedule"
        kind = schema["$defs"][name]["properties"].get("kind", {}).get("const")
        return f"section `{kind}`" if kind else "section"
    match entry["type"]:
        case "array":
            return _list_type(schema, entry)
        case "null":
            return "null"
        case "string":
            return "text"
        case name:
            return name + _bounds(entry)


def _list_type(schema: Schema, entry: Schema) -> str:
    items = entry.get("prefixItems")
    if items:
        return f"[{', '.join(_type(schema, item) for item in items)}]"
    return f"list of {_type(schema, entry['items'])}"


def _bounds(entry: Schema) -> str:
    low, high = entry.get("minimum"), entry.get("maximum")
    if low is not None and high is not None:
        return f" {low:g} to {high:g}"
    return f" >= {low:g}" if low is not None else f" <= {high:g}" if high is not None else ""


def _value(values: Mapping[str, Any], path: tuple[str, ...], kind: str | None) -> str:
    """Return a key's value in the recipe toybox, or in the first that has it, with its name."""
    names = [DEFAULT_RECIPE, *(name for name in values if name != DEFAULT_RECIPE)]
    for name in names:
        found, value = _at(values[name], path, kind)
        if found:
            text = "section" if _is_section(value) else f"`{json.dumps(value, ensure_ascii=False)}`"
            return text if name == DEFAULT_RECIPE else f"{text} (`{name}`)"
    return ""


def _is_section(value: object) -> bool:
    """Return whether a value is described key by key below, unlike a schedule."""
    if isinstance(value, list):
        return bool(value) and all(_is_section(entry) for entry in value)
    return isinstance(value, dict) and not {"points", "start"} & value.keys()


def _at(recipe: object, path: tuple[str, ...], kind: str | None) -> tuple[bool, object]:
    """Return whether a recipe has a key, in a section of that kind, and its value."""
    value = recipe
    for depth, key in enumerate(path):
        if isinstance(value, list) and value:
            value = value[0]
        if not isinstance(value, dict) or key not in value:
            return False, None
        if depth == len(path) - 1 and kind is not None and value.get("kind") != kind:
            return False, None
        value = value[key]
    return True, value


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
