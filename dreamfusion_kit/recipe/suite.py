"""Suites: which assets to make, by which recipes, and the protocol that all of them share.

The default suite is ./params.yaml. Any other suite NAME is the folder suites/NAME: suite.yaml
says what its assets share, and each folder in assets/ is one of them, so that two branches can
add assets without a conflict. Without a protocol of its own it is measured by the one in
params.yaml.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, JsonValue, model_validator

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe import canonical
from dreamfusion_kit.recipe.captions import one_clean_line
from dreamfusion_kit.recipe.document import (
    Document,
    KeyPath,
    Problem,
    Value,
    did_you_mean,
    file_error,
    recipe_error,
)
from dreamfusion_kit.recipe.evaluation import EvaluationSection
from dreamfusion_kit.recipe.gate import GateSection
from dreamfusion_kit.recipe.imported import ImportSection
from dreamfusion_kit.recipe.judge import unreadable
from dreamfusion_kit.recipe.load import load_yaml, validate
from dreamfusion_kit.recipe.overrides import ANOTHER_MODEL, with_overrides
from dreamfusion_kit.recipe.protocol import ProtocolSection, protocol_of
from dreamfusion_kit.recipe.schema import Recipe, Section, Seed
from dreamfusion_kit.recipe.workspace import DEFAULT, NAME, recipe_file, suite_file, suite_root

__all__ = [
    "DEFAULT",
    "Asset",
    "EvaluationSection",
    "ResolvedAsset",
    "Suite",
    "check_suite",
    "load_suite",
    "resolve",
]

ASSET_ID = r"^[a-z0-9_]{1,64}$"
ASSET_FILE = "asset.yaml"
FETCHED_CLIP = "clip"  # the name by which `fetch` knows the protocol's CLIP


def _is_not_the_clip(recipe: str) -> str:
    if recipe == FETCHED_CLIP:
        raise ValueError(
            "found clip, the protocol's CLIP for `fetch`; expected another name; rename the recipe"
        )
    return recipe


AssetId = Annotated[str, Field(pattern=ASSET_ID)]
Name = Annotated[str, Field(pattern=NAME)]
Prompt = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(one_clean_line)]
RecipeName = Annotated[Name, AfterValidator(_is_not_the_clip)]

_IMPORT = "The files that its mesh comes from; written by `dreamfusion-kit import`."
_OVERRIDES = "Dotted recipe keys that are set differently, such as optimize.num_steps; {} for none."


class Asset(Section):
    """One thing to make. Its id names its files.

    `imported` says that its mesh comes from a file; its recipe then gives the mesh's formats and
    texture alone.
    """

    prompt: Prompt = Field(description="What to make, one line of 1 to 500 characters.")
    recipe: RecipeName = Field(description="File name in recipes/, without .yaml.")
    seed: Seed = Field(description="Seed of every random stream of this asset.")
    overrides: dict[str, JsonValue] = Field(description=_OVERRIDES)
    imported: ImportSection | None = Field(default=None, alias="import", description=_IMPORT)


class AssetFile(Section):
    """What the asset.yaml of a suite's folder says."""

    prompt: Prompt = Field(description="What to make, one line of 1 to 500 characters.")
    recipe: RecipeName = Field(description="File name in recipes/, without .yaml.")
    seed: Seed | None = Field(
        description="Seed of every random stream of this asset; null where the suite has seeds."
    )
    overrides: dict[str, JsonValue] = Field(description=_OVERRIDES)
    imported: ImportSection | None = Field(default=None, alias="import", description=_IMPORT)


class ParamsFile(Section):
    """What the workspace's params.yaml says: the default suite, and the protocol of all."""

    suite: Name = Field(description="Name of the suite: default.")
    recipes: tuple[Name, ...] = Field(
        description="The recipes that the assets use, each once: DVC fetches per recipe."
    )
    assets: dict[AssetId, Asset] = Field(min_length=1, description="The assets by their id.")
    evaluation: ProtocolSection = Field(
        description="The protocol, or the name of one in protocols/, for every suite without one "
        "of its own."
    )
    gate: GateSection | None = Field(
        default=None, description="When a fall of quality is refused; see docs/gate.md."
    )

    @model_validator(mode="after")
    def _nothing_is_imported(self) -> "ParamsFile":
        for asset_id, asset in self.assets.items():
            if asset.imported is not None:
                raise ValueError(
                    f"assets.{asset_id}.import: found an imported mesh in the default suite, "
                    "expected it in a suite of its own folder; remove it here and use "
                    "`dreamfusion-kit import`"
                )
        return self

    @model_validator(mode="after")
    def _recipes_are_those_used(self) -> "ParamsFile":
        used = list(dict.fromkeys(asset.recipe for asset in self.assets.values()))
        if sorted(self.recipes) != sorted(used):
            raise ValueError(
                f"recipes: found [{', '.join(self.recipes)}], expected exactly what the "
                f"assets use: [{', '.join(used)}]"
            )
        return self


class SuiteFile(Section):
    """What a folder's suite.yaml says: all that its assets share."""

    suite: Name = Field(description="Name of the suite: that of its folder.")
    seeds: tuple[Seed, ...] | None = Field(
        min_length=1,
        max_length=1000,
        description="Each asset is made once per seed, as ID_sSEED; null where each has its own.",
    )
    overrides: dict[str, JsonValue] = Field(description=_OVERRIDES + " An asset's own come later.")
    evaluation: ProtocolSection | None = Field(
        description="The suite's own protocol, or the name of one in protocols/; null for the one "
        "in params.yaml."
    )

    @model_validator(mode="after")
    def _seeds_differ(self) -> "SuiteFile":
        if self.seeds is not None and len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: found {list(self.seeds)}, expected each seed once")
        return self


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

    @property
    def prompts(self) -> dict[str, str]:
        """Return every asset's prompt."""
        return {asset_id: asset.prompt for asset_id, asset in self.assets.items()}


@dataclass(frozen=True)
class ResolvedAsset:
    """Everything that one asset is made from. `recipe` has the overrides applied."""

    id: str
    suite: str
    prompt: str
    seed: int
    recipe_name: str
    recipe: Recipe
    imported: ImportSection | None = None

    @property
    def identity(self) -> str:
        """Return the hash of what determines the result: prompt, seed, recipe and imported file."""
        inputs = {"prompt": self.prompt, "seed": self.seed, "recipe": self.recipe}
        return canonical.identity(inputs | self._imported)

    @property
    def refines(self) -> bool:
        """Return whether the asset's final mesh is that of the stage `refine`."""
        return self.imported is None and self.recipe.refine is not None

    def summary(self) -> dict[str, Value]:
        """Return everything as JSON data, for people and for provenance."""
        return {
            "asset": self.id,
            "suite": self.suite,
            "identity": self.identity,
            "prompt": self.prompt,
            "seed": self.seed,
            "recipe_name": self.recipe_name,
            "recipe": self.recipe.model_dump(mode="json"),
            **self._imported,
        }

    @property
    def _imported(self) -> dict[str, Any]:
        return {} if self.imported is None else {"import": self.imported.model_dump(mode="json")}


def caveat(asset: ResolvedAsset, evaluation: EvaluationSection) -> str:
    """Return the warning to show beside the asset's scores; empty for most assets.

    The score of a CLIP that guided the optimisation shows how well that went, not how good the
    object is.
    """
    judges, guides = evaluation.judges, [model.source for model in asset.recipe.models.values()]
    own = next((name for name, source in judges.items() if source in guides), None)
    if own is None or asset.imported is not None:
        return ""
    which = f", {own}" if len(judges) > 1 else ""
    return (
        f"optimised against the judging CLIP{which}: its R-Precision and CLIP score cannot be "
        "compared with those of other recipes"
    )


def load_suite(workspace: Path, name: str) -> Suite:
    """Return the suite `name` with its protocol, or that of the workspace."""
    if name == DEFAULT:
        return parse_params(load_yaml(suite_file(workspace, name)), workspace)
    return _load_folder(workspace, name)


def load_protocol(workspace: Path, name: str) -> EvaluationSection:
    """Return the protocol of the suite `name` without reading its assets."""
    if name != DEFAULT:
        document, shared = _load_suite_file(workspace, name)
        if shared.evaluation is not None:
            return protocol_of(shared.evaluation, workspace, document)
    return load_suite(workspace, DEFAULT).evaluation


def resolve(workspace: Path, suite_name: str, asset_id: str) -> ResolvedAsset:
    """Return the asset with its recipe loaded, overrides applied, everything validated.

    If the suite is a folder, only the asset's own files are read.
    """
    if suite_name == DEFAULT:
        suite = load_suite(workspace, suite_name)
    else:
        suite = _load_folder(workspace, suite_name, of_asset=asset_id)
    if asset_id not in suite.assets:
        suite = load_suite(workspace, suite_name)
        raise unknown_asset(suite_file(workspace, suite_name), asset_id, suite.assets)
    return _resolve(suite, asset_id, _load_recipe(workspace, suite, asset_id))


def resolve_all(workspace: Path, suite: Suite) -> dict[str, ResolvedAsset]:
    """Return every asset of `suite`, or raise all their problems together."""
    recipes: dict[str, _LoadedRecipe] = {}  # each read once: a suite may have hundreds of assets
    messages: dict[str, None] = {}  # an ordered set: assets share recipes and their problems
    resolved: dict[str, ResolvedAsset] = {}
    for asset_id, asset in suite.assets.items():
        try:
            if asset.recipe not in recipes:
                recipes[asset.recipe] = _load_recipe(workspace, suite, asset_id)
            resolved[asset_id] = _resolve(suite, asset_id, recipes[asset.recipe])
        except RecipeError as error:
            messages |= dict.fromkeys(str(error).splitlines())
    if messages:
        raise RecipeError("\n".join(messages))
    return resolved


def check_suite(workspace: Path, name: str, document: Document | None = None) -> Suite:
    """Return the suite `name` once each of its assets has been resolved without a problem.

    `document` replaces the workspace's params.yaml, for content that is not (yet) on disk.
    """
    suite = load_suite(workspace, name) if document is None else parse_params(document, workspace)
    messages: dict[str, None] = {}
    try:
        resolve_all(workspace, suite)
    except RecipeError as error:
        messages |= dict.fromkeys(str(error).splitlines())
    messages |= dict.fromkeys(_protocol_problems(workspace, suite))
    if messages:
        raise RecipeError("\n".join(messages))
    return suite


def _protocol_problems(workspace: Path, suite: Suite) -> list[str]:
    """Return why the suite cannot be judged by its protocol, one line per problem."""
    try:
        by_asset, of_pool = unreadable(suite.evaluation, suite.prompts, workspace)
    except RecipeError as error:
        return str(error).splitlines()
    problems: list[Problem] = []
    for asset, text in by_asset.items():
        document, key = suite.declared[asset].recipe
        place = (*key[:-1], "prompt")
        problems.append(Problem(document.place(place), place, text))
    return [*map(str, problems), *of_pool]


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


def refined_assets(workspace: Path, suite: Suite) -> frozenset[str]:
    """Return the assets whose recipe, with their overrides, has a second stage.

    Raises:
        RecipeError: with every problem of the suite's assets, where one of them may refine.
    """
    # Most suites have no such recipe, and then need not be resolved, asset by asset.
    files = (recipe_file(workspace, name) for name in suite.recipes)
    may_refine = any(validate(load_yaml(file), Recipe).refine for file in files if file.is_file())
    if not may_refine and not any(map(_overrides_refine, suite.declared.values())):
        return frozenset()
    resolved = resolve_all(workspace, suite)
    return frozenset(name for name, one in resolved.items() if one.refines)


def _overrides_refine(declaration: Declaration) -> bool:
    for document, key in declaration.overrides:
        value: Value = document.data
        for part in key:
            value = value[str(part)] if isinstance(value, dict) else None
        if isinstance(value, dict) and any(name.split(".")[0] == "refine" for name in value):
            return True
    return False


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
    messages: dict[str, None] = {}
    for folder in folders:
        try:
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
        except RecipeError as error:
            messages |= dict.fromkeys(str(error).splitlines())
    if messages:
        raise RecipeError("\n".join(messages))
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


@dataclass(frozen=True)
class _LoadedRecipe:
    """A recipe without overrides: the file and its content."""

    document: Document
    recipe: Recipe


def _resolve(suite: Suite, asset_id: str, loaded: _LoadedRecipe) -> ResolvedAsset:
    asset = suite.assets[asset_id]
    document, recipe = loaded.document, loaded.recipe
    for source, key in suite.declared[asset_id].overrides:
        if _has_entries(source, key):
            document = with_overrides(document, source, key)
    if document is not loaded.document:
        recipe = validate(document, Recipe)
        _refuse_other_models(suite.declared[asset_id], loaded.recipe, recipe)
    return ResolvedAsset(
        id=asset_id,
        suite=suite.name,
        prompt=asset.prompt,
        seed=asset.seed,
        recipe_name=asset.recipe,
        recipe=recipe,
        imported=asset.imported,
    )


def _refuse_other_models(declaration: Declaration, before: Recipe, after: Recipe) -> None:
    """Refuse overrides that name a model which the fetch of the recipe does not bring."""
    fetched = {key: (model.source, model.additions) for key, model in before.models.items()}
    others = [
        key
        for key, model in after.models.items()
        if fetched.get(key) != (model.source, model.additions)
    ]
    if others:
        document, place = next(
            pair for pair in reversed(declaration.overrides) if _has_entries(*pair)
        )
        raise recipe_error(
            [
                Problem(document.place(place), (*place, *key.split(".")), ANOTHER_MODEL)
                for key in others
            ]
        )


def _has_entries(document: Document, key: KeyPath) -> bool:
    value: Value = document.data
    for part in key:
        value = value[str(part)] if isinstance(value, dict) else None
    return bool(value)


def _load_recipe(workspace: Path, suite: Suite, asset_id: str) -> _LoadedRecipe:
    """Return the asset's recipe without overrides, valid, so that later problems are theirs."""
    name = suite.assets[asset_id].recipe
    path = recipe_file(workspace, name)
    if not path.is_file():
        known = [file.stem for file in sorted(path.parent.glob("*.yaml"))]
        meant = did_you_mean(name, known)
        hint = f" (did you mean {meant}?)" if meant else f"; there are {', '.join(known)}"
        document, key = suite.declared[asset_id].recipe
        raise recipe_error([Problem(document.place(key), key, f"found no {path}{hint}")])
    loaded = load_yaml(path)
    return _LoadedRecipe(loaded, validate(loaded, Recipe))
