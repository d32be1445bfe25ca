"""Suites: which assets to make, by which recipes, and the protocol that all of them share.

The default suite is ./params.yaml. Any other suite NAME is the folder suites/NAME: suite.yaml
says what its assets share, and each folder in assets/ is one of them, so that two branches can
add assets without a conflict. Without a protocol of its own it is measured by the one in
params.yaml.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.document import (
    Complaints,
    Document,
    KeyPath,
    Problem,
    did_you_mean,
    file_error,
    recipe_error,
)
from dreamfusion_kit.recipe.evaluation import EvaluationSection
from dreamfusion_kit.recipe.load import load_yaml, validate
from dreamfusion_kit.recipe.protocol import protocol_of
from dreamfusion_kit.recipe.suite_schema import (
    ASSET_FILE,
    ASSET_ID,
    Asset,
    AssetFile,
    ParamsFile,
    SuiteFile,
)
from dreamfusion_kit.recipe.workspace import DEFAULT, suite_file, suite_root


@dataclass(frozen=True)
class Declaration:
    """Where an asset is declared: the folder in assets/, if any, and the overrides to apply."""

    folder: str | None
    recipe: tuple[Document, KeyPath]
    overrides: tuple[tuple[Document, KeyPath], ...]


@dataclass(frozen=True)
class Suite:
    """A suite as its files define it, checked; its recipes are not read yet."""

    name: str
    assets: Mapping[str, Asset]
    evaluation: EvaluationSection
    declared: Mapping[str, Declaration] = field(repr=False)
    seeds: tuple[int, ...] | None = None
    protocol: str | None = None
    """The name of its own protocol, if it has one from protocols/."""

    @property
    def recipes(self) -> tuple[str, ...]:
        """Return the names of the recipes whose priors the assets use, each once."""
        made = (asset for asset in self.assets.values() if asset.imported is None)
        return tuple(dict.fromkeys(asset.recipe for asset in made))

    @property
    def folders(self) -> tuple[str, ...]:
        """Return the folders in assets/ that declare the assets, each once."""
        folders = (declared.folder for declared in self.declared.values())
        return tuple(dict.fromkeys(folder for folder in folders if folder is not None))

    def in_folder(self, folder: str) -> list[str]:
        """Return the ids of the assets that `assets/folder` declares, one per seed."""
        return [name for name, declared in self.declared.items() if declared.folder == folder]

    def without(self, gone: Collection[str]) -> "Suite":
        """Return the suite without some of its assets."""
        assets = {name: asset for name, asset in self.assets.items() if name not in gone}
        declared = {name: place for name, place in self.declared.items() if name not in gone}
        return replace(self, assets=assets, declared=declared)

    @property
    def prompts(self) -> dict[str, str]:
        """Return every asset's prompt."""
        return {asset_id: asset.prompt for asset_id, asset in self.assets.items()}


def load_suite(workspace: Path, name: str) -> Suite:
    """Return the suite `name` with its protocol, or that of the workspace."""
    if name == DEFAULT:
        return parse_params(load_yaml(suite_file(workspace, name)), workspace)
    return _load_folder(workspace, name)


def load_suite_of(workspace: Path, name: str, asset_id: str) -> Suite:
    """Return as much of the suite `name` as one asset needs, and nothing if it has no such asset.

    If the suite is a folder, only the asset's own files are read.
    """
    if name == DEFAULT:
        return load_suite(workspace, name)
    return _load_folder(workspace, name, of_asset=asset_id)


def load_protocol(workspace: Path, name: str) -> EvaluationSection:
    """Return the protocol of the suite `name` without reading its assets."""
    if name != DEFAULT:
        document, shared = _load_suite_file(workspace, name)
        if shared.evaluation is not None:
            return protocol_of(shared.evaluation, workspace, document)
    return load_suite(workspace, DEFAULT).evaluation


def folder_of(workspace: Path, name: str, asset_id: str) -> str | None:
    """Return the folder in assets/ that declares an asset of the suite `name`, if any does."""
    if name == DEFAULT:
        return None
    _, shared = _load_suite_file(workspace, name)
    declaring = (
        folder for folder in asset_folders(workspace, name) if asset_id in _ids(folder, shared)
    )
    return next(declaring, None)


def unknown_asset(path: Path, asset_id: str, known: Iterable[str]) -> RecipeError:
    """Return the error for an asset that the suite at `path` does not have."""
    known = list(known)
    meant = did_you_mean(asset_id, known)
    hint = f" (did you mean {meant}?)" if meant else ""
    listed = ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
    return file_error(path, f"no asset {asset_id!r}{hint}; it has {listed}")


def parse_params(document: Document, workspace: Path) -> Suite:
    """Return the default suite that the params.yaml in `document` defines."""
    file = validate(document, ParamsFile)
    _refuse_another_name(document, file.suite, DEFAULT)
    return Suite(
        name=DEFAULT,
        assets=file.assets,
        evaluation=protocol_of(file.evaluation, workspace, document),
        declared={
            name: Declaration(
                folder=None,
                recipe=(document, ("assets", name, "recipe")),
                overrides=((document, ("assets", name, "overrides")),),
            )
            for name in file.assets
        },
    )


def asset_folders(workspace: Path, name: str) -> list[str]:
    """Return the folders that hold the assets of the suite `name`, sorted."""
    paths = (suite_root(workspace, name) / "assets").glob(f"*/{ASSET_FILE}")
    return sorted(path.parent.name for path in paths)


def _load_suite_file(workspace: Path, name: str) -> tuple[Document, SuiteFile]:
    document = load_yaml(suite_file(workspace, name))
    shared = validate(document, SuiteFile)
    _refuse_another_name(document, shared.suite, name)
    return document, shared


def _load_folder(workspace: Path, name: str, *, of_asset: str | None = None) -> Suite:
    """Return a suite's folder as a suite, or as much of it as one asset needs."""
    path = suite_file(workspace, name)
    document, shared = _load_suite_file(workspace, name)
    folders = asset_folders(workspace, name)
    if of_asset is not None:
        folders = [folder for folder in folders if of_asset in _ids(folder, shared)]
    assets: dict[str, Asset] = {}
    declared: dict[str, Declaration] = {}
    complaints = Complaints()
    for folder in folders:
        with complaints.collected():
            own = load_asset_file(path.parent / "assets" / folder / ASSET_FILE)
            for asset_id, asset in _per_seed(folder, own, shared):
                if asset_id in assets:
                    other = declared[asset_id].folder
                    raise file_error(
                        path,
                        f"assets/{folder} and assets/{other} both give the asset "
                        f"{asset_id}; expected different ids; rename one of the folders",
                    )
                assets[asset_id] = asset
                declared[asset_id] = Declaration(
                    folder=folder,
                    recipe=(own[1], ("recipe",)),
                    overrides=((document, ("overrides",)), (own[1], ("overrides",))),
                )
    complaints.raise_any()
    chosen = shared.evaluation
    evaluation = (
        load_suite(workspace, DEFAULT).evaluation
        if chosen is None
        else protocol_of(chosen, workspace, document)
    )
    return Suite(
        name,
        assets,
        evaluation,
        declared,
        seeds=shared.seeds,
        protocol=chosen if isinstance(chosen, str) else None,
    )


def load_asset_file(path: Path) -> tuple[AssetFile, Document]:
    """Return the asset.yaml at `path`, checked, and its document."""
    if not re.fullmatch(ASSET_ID, path.parent.name):
        raise file_error(
            path,
            f"found the folder {path.parent.name!r}, expected an id of 1 to 64 of a-z, "
            "0-9 and _; rename the folder",
        )
    document = load_yaml(path)
    return validate(document, AssetFile), document


def _per_seed(
    folder: str, own: tuple[AssetFile, Document], shared: SuiteFile
) -> list[tuple[str, Asset]]:
    """Return the assets that one folder declares: itself, or one per seed of the suite."""
    file, document = own
    if file.imported is not None and shared.seeds is not None:
        text = "found an imported mesh in a suite with seeds, expected a suite without: it has none"
        raise recipe_error([Problem(document.place(("import",)), ("import",), text)])
    if (file.seed is None) != (shared.seeds is not None):
        found = "null" if file.seed is None else str(file.seed)
        expected = "a seed" if file.seed is None else "null: the suite's seeds hold for every asset"
        text = f"found {found}, expected {expected}"
        raise recipe_error([Problem(document.place(("seed",)), ("seed",), text)])
    seeds = shared.seeds if file.seed is None else (file.seed,)
    fields: dict[str, Any] = dict(file) | {"import": file.imported}
    del fields["seed"], fields["imported"]
    return [
        (asset_id, Asset(seed=seed, **fields))
        for asset_id, seed in zip(_ids(folder, shared), seeds or (), strict=True)
    ]


def _ids(folder: str, shared: SuiteFile) -> list[str]:
    """Return the ids of the assets of a folder: its name, or one per seed of the suite."""
    return [folder] if shared.seeds is None else [f"{folder}_s{seed}" for seed in shared.seeds]


def _refuse_another_name(document: Document, found: str, expected: str) -> None:
    if found != expected:
        text = f"found {found}, expected {expected}, as the file's place says"
        raise recipe_error([Problem(document.place(("suite",)), ("suite",), text)])
