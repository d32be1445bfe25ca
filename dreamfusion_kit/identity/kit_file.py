"""kit.json: the digests that DVC's stages depend on, as one generated file per suite.

In a suite's folder, each asset's folder has its own kit.json, so that an asset's stages read
only a few lines, whatever the suite's size.
"""

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

from dreamfusion_kit import files
from dreamfusion_kit.command_name import command_name
from dreamfusion_kit.errors import StaleKitError
from dreamfusion_kit.identity.code import code_digests
from dreamfusion_kit.identity.inputs import (
    asset_digests,
    clip_digest,
    pool_digest,
    recipe_digest,
    scene_digest,
    suite_digests,
)
from dreamfusion_kit.identity.stage_name import AssetStage, CodeName, is_toybox
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.resolved import fetched_recipes, resolve, resolve_all
from dreamfusion_kit.recipe.scene import load_scene, scene_names
from dreamfusion_kit.recipe.suite import Suite, folder_of, load_protocol, load_suite
from dreamfusion_kit.recipe.suite_schema import FETCHED_CLIP
from dreamfusion_kit.recipe.workspace import DEFAULT, recipe_file, suite_root

KIT_FILE = "kit.json"
MEMORY = Path(".work/code.json")

Digests = Mapping[str, Any]  # JSON: digests by key, in groups


@dataclass(frozen=True)
class Kit:
    """The digests of one suite: those in its kit.json, and those in its assets' folders."""

    suite: Digests
    folders: Mapping[str, Digests]


def current(workspace: Path, name: str) -> Kit:
    """Return the digests of the suite `name` for the present code, recipes and suite.

    Raises:
        RecipeError: with every problem of the suite.
    """
    suite = load_suite(workspace, name)
    resolved = resolve_all(workspace, suite)
    recipes = {
        name: {"fetch": recipe_digest(load_recipe(recipe_file(workspace, name)))}
        for name in fetched_recipes(suite, {one for one in resolved if resolved[one].refines})
    }
    assets = {
        asset_id: asset_digests(asset, suite.evaluation) for asset_id, asset in resolved.items()
    }
    shared: Digests = {
        "code": code_digests(workspace / MEMORY),
        "recipes": recipes,
        "suite": suite_digests(suite, resolved, workspace),
    }
    scenes = {scene: _scene(workspace, name, scene) for scene in scene_names(workspace, name)}
    if scenes:
        shared = {**shared, "scenes": scenes}
    if name == DEFAULT:
        return Kit({**shared, "assets": assets}, {})
    return Kit(shared, {folder: _own(suite, folder, assets) for folder in suite.folders})


def read(workspace: Path, name: str) -> Kit:
    """Return the digests in the suite's files; empty if the files are missing."""
    root = suite_root(workspace, name)
    paths = sorted((root / "assets").glob(f"*/{KIT_FILE}")) if name != DEFAULT else []
    return Kit(_load(root / KIT_FILE), {path.parent.name: _load(path) for path in paths})


def write(workspace: Path, name: str, kit: Kit) -> list[Path]:
    """Write the files whose digests differ; return the files written."""
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


@contextmanager
def unchanged(
    workspace: Path, name: str, stage: CodeName, subject: str | None
) -> Generator[None, None, None]:
    """Check before and after a stage that its digests in kit.json are those of what it runs on.

    DVC reads kit.json after a stage and records its digests beside the outputs. They have to be
    the digests of the code and the inputs that made these outputs.

    Args:
        subject: The asset; for `fetch`, the recipe or the protocol's CLIP.

    Raises:
        StaleKitError: if a digest is not that of the present code and inputs, or
            changed during the run.
    """
    keys = _keys(workspace, name, stage, subject)
    now = _now(workspace, name, stage, subject)
    found = {key: _read_key(key) for key in keys}
    for key, digest in zip(keys, now, strict=True):
        if found[key] != digest:
            raise StaleKitError(
                f"{key.path}: {key.name} is not the digest of the code and inputs as they are "
                f"now; expected an up-to-date file; run `{command_name()} sync`, then `dvc repro`"
            )
    yield
    changed = next((key for key in keys if _read_key(key) != found[key]), None)
    if changed is not None:
        raise StaleKitError(
            f"{changed.path}: {changed.name} changed while the {stage} stage ran; expected the "
            "digest of what it ran on; run `dvc repro` again"
        )


@dataclass(frozen=True)
class _Key:
    path: Path
    parts: tuple[str, ...]

    @property
    def name(self) -> str:
        return ".".join(self.parts)


def _keys(workspace: Path, name: str, stage: CodeName, subject: str | None) -> list[_Key]:
    """Return the keys that a stage depends on, as listed in its dvc.yaml."""
    path = suite_root(workspace, name) / KIT_FILE
    code = _Key(path, ("code", stage))
    if is_toybox(stage):
        return [code]
    match stage:
        case "fetch" if subject == FETCHED_CLIP:
            return [code, _Key(path, ("suite", "clip"))]
        case "fetch":
            return [code, _Key(path, ("recipes", str(subject), "fetch"))]
        case "embed" | "optimize" | "mesh" | "refine":
            return [code, _asset_key(workspace, name, stage, str(subject))]
        case "evaluate":
            pool = _Key(path, ("suite", "pool"))
            return [code, _asset_key(workspace, name, stage, str(subject)), pool]
        case "score" | "report":
            return [code, _Key(path, ("suite", stage))]
        case "scene":
            return [code, _Key(path, ("scenes", str(subject)))]
        case _:
            assert_never(stage)


def _now(workspace: Path, name: str, stage: CodeName, subject: str | None) -> list[str]:
    """Return what the digests at `_keys` have to be."""
    code = code_digests(workspace / MEMORY)[stage]
    if is_toybox(stage):
        return [code]
    match stage:
        case "fetch" if subject == FETCHED_CLIP:
            return [code, clip_digest(load_protocol(workspace, name))]
        case "fetch":
            return [code, recipe_digest(load_recipe(recipe_file(workspace, str(subject))))]
        case "embed" | "optimize" | "mesh" | "refine" | "evaluate":
            resolved = resolve(workspace, name, str(subject))
            protocol = load_protocol(workspace, name)
            own = asset_digests(resolved, protocol).get(stage, "")
            if stage != "evaluate":
                return [code, own]
            # Only a pool of the suite's own prompts requires reading every asset.
            is_own = protocol.caption_pool.kind == "suite"
            prompts = load_suite(workspace, name).prompts if is_own else {}
            return [code, own, pool_digest(protocol, prompts, workspace)]
        case "score" | "report":
            suite = load_suite(workspace, name)
            return [code, suite_digests(suite, resolve_all(workspace, suite), workspace)[stage]]
        case "scene":
            return [code, _scene(workspace, name, str(subject))]
        case _:
            assert_never(stage)


def _scene(workspace: Path, name: str, scene: str) -> str:
    return scene_digest(load_scene(workspace, name, scene), workspace)


def _asset_key(workspace: Path, name: str, stage: str, asset: str) -> _Key:
    root = suite_root(workspace, name)
    if name == DEFAULT:
        return _Key(root / KIT_FILE, ("assets", asset, stage))
    folder = folder_of(workspace, name, asset) or asset  # `_now` reports a missing asset
    return _Key(root / "assets" / folder / KIT_FILE, (asset, stage))


def _read_key(key: _Key) -> object:
    value: object = _load(key.path)
    for part in key.parts:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _own(suite: Suite, folder: str, assets: Mapping[str, Mapping[AssetStage, str]]) -> Digests:
    return {asset_id: assets[asset_id] for asset_id in suite.in_folder(folder)}


def _text(digests: Digests) -> str:
    return json.dumps(digests, indent=1, sort_keys=True) + "\n"


def _load(path: Path) -> Digests:
    """Return a kit.json's digests; a damaged one counts as empty and is written again."""
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
