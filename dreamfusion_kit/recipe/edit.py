"""Adds and removes assets in the workspace's params.yaml: the default suite.

The file is edited as text, at the places that the YAML reader reports, so that comments,
order and spacing elsewhere stay the same, byte for byte. (ruamel.yaml's
round trip binds a comment to the entry *before* it: removing an asset would take the
next one's comment along.) Nothing is written unless the edited suite is valid.
"""

import re
from collections.abc import Callable
from pathlib import Path

import yaml

from dreamfusion_kit import files
from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe import yaml_text
from dreamfusion_kit.recipe.check import check_suite
from dreamfusion_kit.recipe.document import Place, Problem, Value, file_error, recipe_error
from dreamfusion_kit.recipe.load import read_text
from dreamfusion_kit.recipe.suite import Suite, unknown_asset
from dreamfusion_kit.recipe.suite_schema import ASSET_ID
from dreamfusion_kit.recipe.workspace import DEFAULT, suite_file
from dreamfusion_kit.recipe.yaml_text import scalar

# Raises RecipeError where a suite, not yet written, cannot be what another file needs.
Check = Callable[[Suite], object]


def _accept(suite: Suite) -> None:
    """Accept any suite."""


def add_asset(
    workspace: Path, asset_id: str, *, prompt: str, recipe: str, seed: int, check: Check = _accept
) -> Path:
    """Add an asset at the end of a suite, and its recipe to the suite's recipes.

    Returns:
        The file that was written.

    Raises:
        RecipeError: if the id is taken, the suite would become invalid, or `check` refuses it;
            the file is then unchanged.
    """
    path = suite_file(workspace, DEFAULT)
    if not re.fullmatch(ASSET_ID, asset_id):
        raise RecipeError(f"asset {asset_id!r}: expected an id of 1 to 64 of a-z, 0-9 and _")
    text = read_text(path)
    assets = _block_assets(text, path)
    if asset_id in _keys(assets):
        raise file_error(path, f"asset {asset_id!r} is there already, remove it first")
    last_key, last_value = assets.value[-1]
    end = _end_of_line(text, last_value)
    indent = " " * last_key.start_mark.column
    lines = [
        f"{indent}{scalar(asset_id)}:",
        f"{indent}  prompt: {scalar(prompt)}",
        f"{indent}  recipe: {scalar(recipe)}",
        f"{indent}  seed: {seed}",
        f"{indent}  overrides: {{}}",
    ]
    before = text[:end] if text[:end].endswith("\n") else text[:end] + "\n"
    edited = before + "".join(f"{line}\n" for line in lines) + text[end:]
    _check_and_write(workspace, edited, check)
    return path


def remove_asset(workspace: Path, asset_id: str, *, check: Check = _accept) -> Path:
    """Remove an asset from a suite, and its recipe if no other asset uses it.

    Comments inside the asset's lines go with it; those above it stay.

    Returns:
        The file that was written.

    Raises:
        RecipeError: if the asset does not exist, the suite would become invalid, or `check`
            refuses it; the file is then unchanged.
    """
    path = suite_file(workspace, DEFAULT)
    text = read_text(path)
    assets = _block_assets(text, path)
    keys = _keys(assets)
    if asset_id not in keys:
        raise unknown_asset(path, asset_id, keys)
    if len(keys) == 1:
        raise file_error(path, f"{asset_id!r} is the only asset; a suite needs at least one")
    key, value = assets.value[keys.index(asset_id)]
    start = key.start_mark.index - key.start_mark.column
    _check_and_write(workspace, text[:start] + text[_end_of_line(text, value) :], check)
    return path


def _block_assets(text: str, path: Path) -> yaml.MappingNode:
    """Return the node of the assets; it has at least one asset, on lines of its own."""
    yaml_text.parse(text, str(path))  # reports duplicate keys and the like
    _, assets = _entry(text, path, "assets")
    if not isinstance(assets, yaml.MappingNode) or assets.flow_style or not assets.value:
        raise file_error(path, "expected assets as indented lines, `id:` and its keys below")
    return assets


def _entry(text: str, path: Path, name: str) -> tuple[yaml.Node, yaml.Node]:
    """Return the key `name` of the file and its value.

    Raises:
        RecipeError: if the file has no such key.
    """
    root = yaml_text.compose(text, str(path))
    assert isinstance(root, yaml.MappingNode)
    for key, value in root.value:
        if key.value == name:
            return key, value
    raise recipe_error([Problem(Place(str(path), 1), (name,), "missing key")])


def _keys(node: yaml.MappingNode) -> list[str]:
    return [key.value for key, _ in node.value]


def _end(node: yaml.Node) -> int:
    """Return the position of the node's last character; block collections report a later one."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(node, yaml.MappingNode) else last)
    return node.end_mark.index


def _end_of_line(text: str, node: yaml.Node) -> int:
    """Return the index just after the line on which `node` ends."""
    end = len(text[: _end(node)].rstrip())  # a block scalar's mark comes after its line break
    line_break = text.find("\n", end)
    return len(text) if line_break < 0 else line_break + 1


def _check_and_write(workspace: Path, text: str, check: Check) -> None:
    """Bring the list of recipes in line with the assets, check the suite and write it."""
    path = suite_file(workspace, DEFAULT)
    text = _with_used_recipes(text, path)
    check(check_suite(workspace, DEFAULT, yaml_text.parse(text, _not_written(path))))
    files.write_text(path.resolve(), text)


def _with_used_recipes(text: str, path: Path) -> str:
    """Return `text` with `recipes:` naming what the assets use; the order of the old stays."""
    data = yaml_text.parse(text, _not_written(path)).data
    used = _used_recipes(data["assets"])
    listed = data.get("recipes")
    kept = [name for name in listed if name in used] if isinstance(listed, list) else []
    names = list(dict.fromkeys(str(name) for name in [*kept, *used]))
    if listed == names:
        return text
    key, node = _entry(text, path, "recipes")
    written = ", ".join(scalar(name) for name in names)
    # From the key's end: DVC writes a list on lines of its own below it (`dvc exp run -S`).
    return text[: key.end_mark.index] + f": [{written}]" + text[_end(node) :]


def _used_recipes(assets: Value) -> list[str]:
    entries = assets.values() if isinstance(assets, dict) else ()
    names = [entry.get("recipe") for entry in entries if isinstance(entry, dict)]
    return [name for name in names if isinstance(name, str)]


def _not_written(path: Path) -> str:
    return f"{path} (not written)"
