"""Resolved assets: an asset of a suite with its recipe read and every override applied."""

import re
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamfusion_kit.recipe import canonical
from dreamfusion_kit.recipe.document import (
    Complaints,
    Document,
    KeyPath,
    Problem,
    Value,
    did_you_mean,
    recipe_error,
)
from dreamfusion_kit.recipe.evaluation import EvaluationSection
from dreamfusion_kit.recipe.imported import ImportSection, why_not_refined
from dreamfusion_kit.recipe.load import load_yaml, validate
from dreamfusion_kit.recipe.overrides import ANOTHER_MODEL, with_overrides
from dreamfusion_kit.recipe.schema import Recipe
from dreamfusion_kit.recipe.suite import (
    Declaration,
    Suite,
    load_suite,
    load_suite_of,
    unknown_asset,
)
from dreamfusion_kit.recipe.workspace import recipe_file, suite_file


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
        return self.recipe.refine is not None

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


def resolve(workspace: Path, suite_name: str, asset_id: str) -> ResolvedAsset:
    """Return the asset with its recipe loaded, overrides applied, everything validated.

    If the suite is a folder, only the asset's own files are read.
    """
    suite = load_suite_of(workspace, suite_name, asset_id)
    if asset_id not in suite.assets:
        suite = load_suite(workspace, suite_name)
        raise unknown_asset(suite_file(workspace, suite_name), asset_id, suite.assets)
    return _resolve(suite, asset_id, _load_recipe(workspace, suite, asset_id))


def resolve_all(workspace: Path, suite: Suite) -> dict[str, ResolvedAsset]:
    """Return every asset of `suite`, or raise all their problems together."""
    recipes: dict[str, _LoadedRecipe] = {}  # each read once: a suite may have hundreds of assets
    complaints = Complaints()
    resolved: dict[str, ResolvedAsset] = {}
    for asset_id, asset in suite.assets.items():
        with complaints.collected():
            if asset.recipe not in recipes:
                recipes[asset.recipe] = _load_recipe(workspace, suite, asset_id)
            resolved[asset_id] = _resolve(suite, asset_id, recipes[asset.recipe])
    complaints.raise_any()
    return resolved


def refined_assets(workspace: Path, suite: Suite) -> frozenset[str]:
    """Return the assets whose recipe, with their overrides, has a second stage.

    Raises:
        RecipeError: with every problem of the suite's assets, where one of them may refine or its
            recipe is not there.
    """
    # Most suites have no such recipe, and then need not be resolved, asset by asset.
    names = dict.fromkeys(asset.recipe for asset in suite.assets.values())
    files = (recipe_file(workspace, name) for name in names)
    may_refine = any(
        not file.is_file() or validate(load_yaml(file), Recipe).refine for file in files
    )
    if not may_refine and not any(map(_overrides_refine, suite.declared.values())):
        return frozenset()
    resolved = resolve_all(workspace, suite)
    return frozenset(name for name, one in resolved.items() if one.refines)


def fetched_recipes(suite: Suite, refined: Set[str]) -> tuple[str, ...]:
    """Return the names of the recipes whose priors are fetched; `refined` are the assets that are.

    An imported mesh needs a prior to be refined, and only then.
    """
    imported = (name for name, asset in suite.assets.items() if asset.imported and name in refined)
    return tuple(dict.fromkeys([*suite.recipes, *(suite.assets[name].recipe for name in imported)]))


def _overrides_refine(declaration: Declaration) -> bool:
    overrides = (_overrides_at(*place) for place in declaration.overrides)
    return any(name.split(".")[0] == "refine" for names in overrides for name in names)


@dataclass(frozen=True)
class _LoadedRecipe:
    """A recipe without overrides: the file and its content."""

    document: Document
    recipe: Recipe


def _resolve(suite: Suite, asset_id: str, loaded: _LoadedRecipe) -> ResolvedAsset:
    asset = suite.assets[asset_id]
    document, recipe = loaded.document, loaded.recipe
    for source, key in suite.declared[asset_id].overrides:
        if _overrides_at(source, key):
            document = with_overrides(document, source, key)
    if document is not loaded.document:
        recipe = validate(document, Recipe)
        _refuse_other_models(suite.declared[asset_id], loaded.recipe, recipe)
    if asset.imported is not None and recipe.refine is not None:
        _refuse_no_start(suite.declared[asset_id], recipe)
    return ResolvedAsset(
        id=asset_id,
        suite=suite.name,
        prompt=asset.prompt,
        seed=asset.seed,
        recipe_name=asset.recipe,
        recipe=recipe,
        imported=asset.imported,
    )


def _refuse_no_start(declaration: Declaration, recipe: Recipe) -> None:
    """Refuse to refine an imported mesh by a recipe that needs a field for it."""
    if problem := why_not_refined(recipe):
        document, place = declaration.recipe
        raise recipe_error([Problem(document.place(place), place, problem)])


def _refuse_other_models(declaration: Declaration, before: Recipe, after: Recipe) -> None:
    """Refuse overrides that name a model which the fetch of the recipe does not bring."""
    fetched = {key: (model.source, model.additions) for key, model in before.models.items()}
    others = [
        key
        for key, model in after.models.items()
        if fetched.get(key) != (model.source, model.additions)
    ]
    if others:
        raise recipe_error(_override_of(declaration, key) for key in others)


def _override_of(declaration: Declaration, model: str) -> Problem:
    """Return the problem at the override that changed a model: of it, in it or around it."""
    dotted_key = re.sub(r"\[(\d+)\]", r".\1", model)
    for document, place in reversed(declaration.overrides):
        for name in _overrides_at(document, place):
            if f"{dotted_key}.".startswith(f"{name}.") or name.startswith(f"{dotted_key}."):
                return Problem(document.place((*place, name)), (*place, name), ANOTHER_MODEL)
    document, place = declaration.recipe
    return Problem(document.place(place), place, ANOTHER_MODEL)


def _overrides_at(document: Document, key: KeyPath) -> dict[str, Value]:
    """Return the overrides at `key`; none where the file gives no mapping there."""
    value: Value = document.data
    for part in key:
        value = value[str(part)] if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _load_recipe(workspace: Path, suite: Suite, asset_id: str) -> _LoadedRecipe:
    """Return the asset's recipe without overrides, valid, so that later problems are theirs."""
    name = suite.assets[asset_id].recipe
    path = recipe_file(workspace, name)
    if not path.is_file():
        known = [file.stem for file in sorted(path.parent.glob("*.yaml"))]
        meant = did_you_mean(name, known)
        there = f"there are {', '.join(known)}" if known else "that folder has none"
        hint = f" (did you mean {meant}?)" if meant else f"; {there}"
        document, key = suite.declared[asset_id].recipe
        raise recipe_error([Problem(document.place(key), key, f"found no {path}{hint}")])
    loaded = load_yaml(path)
    return _LoadedRecipe(loaded, validate(loaded, Recipe))
