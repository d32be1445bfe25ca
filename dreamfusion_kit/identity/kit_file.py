"""kit.json: the digests that DVC's stages depend on, as one generated file per suite.

Beside it, where a suite is a folder, each of its assets' folders has a kit.json of its own, so
that an asset's stages read a few lines whatever the suite's size.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamfusion_kit import files
from dreamfusion_kit.command_name import command_name
from dreamfusion_kit.errors import StaleKitError
from dreamfusion_kit.identity.code import code_digests
from dreamfusion_kit.identity.inputs import asset_digests, recipe_digest, suite_digests
from dreamfusion_kit.identity.stage_name import AssetStage
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.suite import (
    DEFAULT,
    Suite,
    load_protocol,
    load_suite,
    resolve,
    resolve_all,
)
from dreamfusion_kit.recipe.workspace import recipe_file, suite_root

KIT_FILE = "kit.json"
MEMORY = Path(".work/code.json")

Digests = Mapping[str, Any]  # JSON: digests by key, in groups


@dataclass(frozen=True)
class Kit:
    """The digests of one suite: what its kit.json says, and what its assets' folders' say."""

    suite: Digests
    folders: Mapping[str, Digests]


def current(workspace: Path, name: str) -> Kit:
    """Return the digests of the suite `name` as code, recipes and suite are now.

    Raises:
        RecipeError: with every problem of the suite.
    """
    suite = load_suite(workspace, name)
    resolved = resolve_all(workspace, suite)
    recipes = {
        name: {"fetch": recipe_digest(load_recipe(recipe_file(workspace, name)))}
        for name in suite.recipes
    }
    assets = {
        asset_id: asset_digests(asset, suite.evaluation) for asset_id, asset in resolved.items()
    }
    shared: Digests = {
        "code": code_digests(workspace / MEMORY),
        "recipes": recipes,
        "suite": suite_digests(suite, resolved),
    }
    if name == DEFAULT:
        return Kit({**shared, "assets": assets}, {})
    return Kit(shared, {folder: _own(suite, folder, assets) for folder in suite.folders})


def read(workspace: Path, name: str) -> Kit:
    """Return what the suite's files say; empty where they are missing."""
    root = suite_root(workspace, name)
    paths = sorted((root / "assets").glob(f"*/{KIT_FILE}")) if name != DEFAULT else []
    return Kit(_load(root / KIT_FILE), {path.parent.name: _load(path) for path in paths})


def write(workspace: Path, name: str, kit: Kit) -> list[Path]:
    """Write what differs from the files; return the files written."""
    root = suite_root(workspace, name)
    texts = {root / KIT_FILE: _text(kit.suite)}
    texts |= {
        root / "assets" / folder / KIT_FILE: _text(digests)
        for folder, digests in kit.folders.items()
    }
    changed = [path for path, text in texts.items() if _read_text(path) != text]
    for path in changed:
        files.write_text(path, texts[path])
    return changed


def refuse_stale(workspace: Path, name: str, stage: str, asset: str | None) -> None:
    """Raise StaleKitError where kit.json does not speak of today's code and inputs.

    DVC records the digests of kit.json with a stage's outputs: they have to be those of the code
    and the recipe that made them.
    """
    kit = _load(suite_root(workspace, name) / KIT_FILE)
    if _at(kit, "code", stage) != _at(code_digests(workspace / MEMORY), stage):
        raise _stale(workspace, name, f"code.{stage}", "the installed code")
    if asset is None:
        return
    resolved = resolve(workspace, name, asset)
    if name != DEFAULT:
        kit = {"assets": _load(_asset_file(workspace, name, asset))}
    now = asset_digests(resolved, load_protocol(workspace, name))
    if _at(kit, "assets", asset, stage) != _at(now, stage):
        raise _stale(workspace, name, f"{asset}.{stage}", "the recipe, asset and protocol")


def _asset_file(workspace: Path, name: str, asset: str) -> Path:
    """Return the kit.json of the folder that declares an asset: its id, less a seed's suffix."""
    assets = suite_root(workspace, name) / "assets"
    folder = asset if (assets / asset).is_dir() else asset.rpartition("_s")[0]
    return assets / folder / KIT_FILE


def _stale(workspace: Path, name: str, key: str, what: str) -> StaleKitError:
    path = suite_root(workspace, name) / KIT_FILE
    return StaleKitError(
        f"{path}: {key} is not the digest of {what}; expected an up-to-date file; run "
        f"`{command_name()} sync`, then `dvc repro`"
    )


def _own(suite: Suite, folder: str, assets: Mapping[str, Mapping[AssetStage, str]]) -> Digests:
    return {asset_id: assets[asset_id] for asset_id in suite.in_folder(folder)}


def _at(digests: Mapping[Any, Any], *keys: str) -> object:
    value: object = digests
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _text(digests: Digests) -> str:
    return json.dumps(digests, indent=1, sort_keys=True) + "\n"


def _load(path: Path) -> Digests:
    """Return a kit.json's digests; a damaged one says nothing, and is written again."""
    try:
        value = json.loads(_read_text(path))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
