"""Adds assets to a suite and removes them, with their outputs and what DVC recorded about them."""

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from dreamfusion_kit import files
from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe import edit as params
from dreamfusion_kit.recipe.check import check_suite
from dreamfusion_kit.recipe.resolved import resolve_all
from dreamfusion_kit.recipe.scene import load_scene, scene_file, scene_names
from dreamfusion_kit.recipe.suite import load_suite, unknown_asset
from dreamfusion_kit.recipe.suite_schema import ASSET_FILE, ASSET_ID
from dreamfusion_kit.recipe.workspace import DEFAULT, suite_file, suite_root
from dreamfusion_kit.recipe.yaml_text import scalar
from dreamfusion_kit.workspace.folder import check_seed, refresh
from dreamfusion_kit.workspace.pipeline import stale_pipelines, write_pipelines

_PER_ASSET = (  # folders in out/
    "text",
    "field",
    "mesh",
    "refined",
    "evaluation",
    "run",
    "cost",
    "relight",
)
_LOCK_ENTRY = re.compile(r"^  (\S.*):$")


def add(
    workspace: Path, suite: str, asset_id: str, *, prompt: str, recipe: str, seed: int | None
) -> Path:
    """Add an asset to a suite; return the file written.

    `seed` None means 0, or none of its own where the suite's seeds hold for every asset.

    Raises:
        RecipeError: if the id is taken, the suite would become invalid, or its pipeline cannot
            take the asset; nothing is changed.
    """
    if not re.fullmatch(ASSET_ID, asset_id):
        raise RecipeError(f"asset {asset_id!r}: expected an id of 1 to 64 of a-z, 0-9 and _")
    if suite == DEFAULT:
        path = params.add_asset(
            workspace,
            asset_id,
            prompt=prompt,
            recipe=recipe,
            seed=seed or 0,
            check=_fits(workspace),
        )
        write_pipelines(workspace, load_suite(workspace, DEFAULT))
        return path
    return _add_folder(workspace, suite, asset_id, prompt=prompt, recipe=recipe, seed=seed)


def remove(workspace: Path, suite: str, asset_id: str) -> Path:
    """Remove an asset, its outputs and its entries in dvc.lock; return the file that declared it.

    Raises:
        RecipeError: if the asset does not exist, is the only one of the default suite, is
            shown by a scene, or if what is left has problems; nothing is changed.
    """
    _refuse_shown(workspace, suite, load_suite(workspace, suite).in_folder(asset_id) or [asset_id])
    if suite == DEFAULT:
        before = set(load_recipes(workspace, suite))
        path = params.remove_asset(workspace, asset_id, check=_fits(workspace))
        write_pipelines(workspace, load_suite(workspace, DEFAULT))
        gone = [asset_id]
        unused = before - set(load_recipes(workspace, suite))
        _forget(workspace / "dvc.lock", {f"@{name}" for name in [asset_id, *unused]})
    else:
        loaded = load_suite(workspace, suite)
        path = suite_root(workspace, suite) / "assets" / asset_id
        gone = loaded.in_folder(asset_id)
        if not gone:
            raise unknown_asset(suite_file(workspace, suite), asset_id, loaded.assets)
        resolve_all(workspace, loaded.without(gone))  # or nothing is changed
        shutil.rmtree(path)
        refresh(workspace, suite)
        unused = set(loaded.recipes) - set(load_recipes(workspace, suite))
        _forget(path.parents[1] / "dvc.lock", {f"fetch_{name}" for name in unused})
    _remove_outputs(suite_root(workspace, suite) / "out", gone, unused)
    return path


def _fits(workspace: Path) -> params.Check:
    """Return what raises RecipeError where dvc.yaml cannot be that of the suite it is given."""
    return lambda suite: stale_pipelines(workspace, suite)


def _refuse_shown(workspace: Path, suite: str, assets: Iterable[str]) -> None:
    for name in scene_names(workspace, suite):
        shown = set(assets) & set(load_scene(workspace, suite, name).assets)
        if shown:
            raise RecipeError(
                f"{scene_file(workspace, suite, name)}: found {', '.join(sorted(shown))} among its "
                "objects, expected no scene that shows a removed asset; remove it there first"
            )


def load_recipes(workspace: Path, suite: str) -> tuple[str, ...]:
    """Return the names of the recipes that a suite uses."""
    return load_suite(workspace, suite).recipes


def _add_folder(
    workspace: Path, suite: str, asset_id: str, *, prompt: str, recipe: str, seed: int | None
) -> Path:
    loaded = load_suite(workspace, suite)
    check_seed(loaded, seed)
    path = suite_root(workspace, suite) / "assets" / asset_id / ASSET_FILE
    if path.parent.exists() or asset_id in loaded.assets:
        raise RecipeError(f"{path}: asset {asset_id!r} is there already, remove it first")
    text = (
        f"prompt: {scalar(prompt)}\nrecipe: {scalar(recipe)}\n"
        f"seed: {(seed or 0) if loaded.seeds is None else 'null'}\noverrides: {{}}\n"
    )
    try:
        files.write_text(path, text)
        check_suite(workspace, suite)
        refresh(workspace, suite)
    except BaseException:  # Ctrl-C too: half an asset would stop the whole suite
        shutil.rmtree(path.parent, ignore_errors=True)
        raise
    return path


def _remove_outputs(out: Path, assets: Iterable[str], recipes: Iterable[str]) -> None:
    for kind in _PER_ASSET:
        for asset in assets:
            shutil.rmtree(out / kind / asset, ignore_errors=True)
            (out / kind / f"{asset}.safetensors").unlink(missing_ok=True)
    for recipe in recipes:
        (out / "model" / f"{recipe}.json").unlink(missing_ok=True)


def _forget(lock: Path, endings: set[str]) -> None:
    """Drop the entries of dvc.lock whose stage names end in one of `endings`; keep all else."""
    try:
        lines = lock.read_text(encoding="utf-8").splitlines(keepends=True)
    except (FileNotFoundError, UnicodeDecodeError):  # one that is damaged is refused by a run
        return
    kept: list[str] = []
    dropping = False
    for line in lines:
        if not line.startswith("   "):  # not inside an entry: its name, or the top of the file
            entry = _LOCK_ENTRY.match(line)
            dropping = entry is not None and entry[1].endswith(tuple(endings))
        if not dropping:
            kept.append(line)
    files.write_text(lock, "".join(kept))
