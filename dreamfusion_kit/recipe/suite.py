"""Suites: which assets to make, by which recipes, and the protocol that all of them share.

The default suite is ./params.yaml; any other suite NAME is suites/NAME/params.yaml. The
evaluation protocol stands in the root params.yaml alone.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, JsonValue, model_validator

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe import canonical
from dreamfusion_kit.recipe.captions import one_clean_line
from dreamfusion_kit.recipe.document import Document, Problem, Value, did_you_mean, recipe_error
from dreamfusion_kit.recipe.evaluation import EvaluationSection
from dreamfusion_kit.recipe.judge import unreadable
from dreamfusion_kit.recipe.load import load_yaml, validate
from dreamfusion_kit.recipe.overrides import with_overrides
from dreamfusion_kit.recipe.schema import ClipPriorSection, Recipe, Section

__all__ = [
    "DEFAULT",
    "Asset",
    "EvaluationSection",
    "ResolvedAsset",
    "Suite",
    "load_suite",
    "resolve",
]

DEFAULT = "default"
ASSET_ID = r"^[a-z0-9_]{1,64}$"
NAME = r"^[a-z0-9_-]{1,64}$"

AssetId = Annotated[str, Field(pattern=ASSET_ID)]
Name = Annotated[str, Field(pattern=NAME)]
Prompt = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(one_clean_line)]


class Asset(Section):
    """One thing to make. Its id, the key above it, names its files."""

    prompt: Prompt = Field(description="What to make, one line of 1 to 500 characters.")
    recipe: Name = Field(description="File name in recipes/, without .yaml.")
    seed: int = Field(ge=0, lt=2**63, description="Seed of every random stream of this asset.")
    overrides: dict[str, JsonValue] = Field(
        description="Dotted recipe keys that this asset sets differently, such as "
        "optimize.num_steps; {} for none."
    )


class SuiteFile(Section):
    """What a params.yaml says of its suite."""

    suite: Name = Field(description="Name of the suite: its folder's, or default at the root.")
    recipes: tuple[Name, ...] = Field(
        description="The recipes that the assets use, each once: DVC fetches per recipe."
    )
    assets: dict[AssetId, Asset] = Field(min_length=1, description="The assets by their id.")

    @model_validator(mode="after")
    def _recipes_are_those_used(self) -> "SuiteFile":
        if "clip" in self.recipes:
            raise ValueError(
                "recipes: found clip, the evaluation's CLIP for `fetch`; expected other names; "
                "rename the recipe"
            )
        used = list(dict.fromkeys(asset.recipe for asset in self.assets.values()))
        if sorted(self.recipes) != sorted(used):
            raise ValueError(
                f"recipes: found [{', '.join(self.recipes)}], expected exactly what the "
                f"assets use: [{', '.join(used)}]"
            )
        return self


class Suite(SuiteFile):
    """A suite with the protocol of its workspace; the root params.yaml is one as it stands."""

    evaluation: EvaluationSection = Field(
        description="The protocol that all assets of all suites share."
    )

    @property
    def prompts(self) -> dict[str, str]:
        """Return every asset's prompt."""
        return {asset_id: asset.prompt for asset_id, asset in self.assets.items()}


def caveat(recipe: Recipe, evaluation: EvaluationSection) -> str:
    """Return what must stand beside the asset's scores; empty for most.

    A CLIP that was optimised against says how well that went, not how good the object is.
    """
    if isinstance(recipe.prior, ClipPriorSection) and recipe.prior.source == evaluation.clip:
        return (
            "optimised against the CLIP that judges: its R-Precision and CLIP score cannot be "
            "compared with those of other recipes"
        )
    return ""


@dataclass(frozen=True)
class ResolvedAsset:
    """All that one asset is made from. `recipe` has the overrides applied."""

    id: str
    suite: str
    prompt: str
    seed: int
    recipe_name: str
    recipe: Recipe

    @property
    def identity(self) -> str:
        """Return the hash of what decides the result: prompt, seed and recipe."""
        return canonical.identity({"prompt": self.prompt, "seed": self.seed, "recipe": self.recipe})

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
        }


def params_path(workspace: Path, name: str) -> Path:
    """Return the file of the suite `name`."""
    if not re.fullmatch(NAME, name):
        raise RecipeError(f"suite {name!r}: expected a name of a-z, 0-9, _ and -")
    return workspace / ("params.yaml" if name == DEFAULT else f"suites/{name}/params.yaml")


def load_suite(workspace: Path, name: str) -> Suite:
    """Return the suite `name`, with the evaluation protocol of the workspace."""
    return _parse_suite(workspace, name, load_yaml(params_path(workspace, name)))


def resolve(workspace: Path, suite_name: str, asset_id: str) -> ResolvedAsset:
    """Return the asset with its recipe loaded, overrides applied, everything validated."""
    document = load_yaml(params_path(workspace, suite_name))
    suite = _parse_suite(workspace, suite_name, document)
    if asset_id not in suite.assets:
        raise unknown_asset(params_path(workspace, suite_name), asset_id, suite.assets)
    return _resolve(suite, document, asset_id, _load_recipe(workspace, suite, document, asset_id))


def resolve_all(workspace: Path, suite_name: str) -> dict[str, ResolvedAsset]:
    """Return every asset as `resolve` does, in the suite's order, reading each recipe once."""
    document = load_yaml(params_path(workspace, suite_name))
    suite = _parse_suite(workspace, suite_name, document)
    recipes: dict[str, Document] = {}
    for asset_id, asset in suite.assets.items():
        if asset.recipe not in recipes:
            recipes[asset.recipe] = _load_recipe(workspace, suite, document, asset_id)
    return {
        asset_id: _resolve(suite, document, asset_id, recipes[asset.recipe])
        for asset_id, asset in suite.assets.items()
    }


def check_suite(workspace: Path, name: str, document: Document | None = None) -> Suite:
    """Return the suite `name` once each of its assets has been resolved without a problem.

    `document` stands for the suite's file where that is not, or not yet, what is on disk.
    """
    document = document or load_yaml(params_path(workspace, name))
    suite = _parse_suite(workspace, name, document)
    recipes: dict[str, Document] = {}  # each read once: a suite may have hundreds of assets
    messages: dict[str, None] = {}  # an ordered set: assets share recipes and their problems
    for asset_id, asset in suite.assets.items():
        try:
            if asset.recipe not in recipes:
                recipes[asset.recipe] = _load_recipe(workspace, suite, document, asset_id)
            _resolve(suite, document, asset_id, recipes[asset.recipe])
        except RecipeError as error:
            messages |= dict.fromkeys(str(error).splitlines())
    messages |= dict.fromkeys(_protocol_problems(workspace, suite, document))
    if messages:
        raise RecipeError("\n".join(messages))
    return suite


def _protocol_problems(workspace: Path, suite: Suite, document: Document) -> list[str]:
    """Return why the suite cannot be judged by its protocol, one line per problem."""
    try:
        by_asset, of_pool = unreadable(suite.evaluation, suite.prompts, workspace)
    except RecipeError as error:
        return str(error).splitlines()
    keys = {asset: ("assets", asset, "prompt") for asset in by_asset}
    problems = [
        Problem(document.place(keys[asset]), keys[asset], text) for asset, text in by_asset.items()
    ]
    return [*map(str, problems), *of_pool]


def unknown_asset(path: Path, asset_id: str, known: Iterable[str]) -> RecipeError:
    """Return the error for an asset that the suite at `path` does not have."""
    meant = did_you_mean(asset_id, known)
    hint = f" (did you mean {meant}?)" if meant else ""
    return RecipeError(f"{path}: no asset {asset_id!r}{hint}; it has {', '.join(known)}")


def _parse_suite(workspace: Path, name: str, document: Document) -> Suite:
    if name == DEFAULT:
        suite = validate(document, Suite)
    else:
        file = validate(document, SuiteFile)
        root = load_suite(workspace, DEFAULT)
        suite = Suite(**dict(file), evaluation=root.evaluation)
    if suite.suite != name:
        text = f"found {suite.suite}, expected {name}, as the file's place says"
        raise recipe_error([Problem(document.place(("suite",)), ("suite",), text)])
    return suite


def _resolve(suite: Suite, document: Document, asset_id: str, recipe: Document) -> ResolvedAsset:
    asset = suite.assets[asset_id]
    overridden = with_overrides(recipe, document, ("assets", asset_id, "overrides"))
    return ResolvedAsset(
        id=asset_id,
        suite=suite.suite,
        prompt=asset.prompt,
        seed=asset.seed,
        recipe_name=asset.recipe,
        recipe=validate(overridden, Recipe),
    )


def _load_recipe(workspace: Path, suite: Suite, document: Document, asset_id: str) -> Document:
    """Return the asset's recipe without overrides, valid, so that later problems are theirs."""
    name = suite.assets[asset_id].recipe
    path = workspace / "recipes" / f"{name}.yaml"
    if not path.is_file():
        known = [file.stem for file in sorted(path.parent.glob("*.yaml"))]
        meant = did_you_mean(name, known)
        hint = f" (did you mean {meant}?)" if meant else f"; there are {', '.join(known)}"
        key = ("assets", asset_id, "recipe")
        raise recipe_error([Problem(document.place(key), key, f"found no {path}{hint}")])
    recipe = load_yaml(path)
    validate(recipe, Recipe)
    return recipe
