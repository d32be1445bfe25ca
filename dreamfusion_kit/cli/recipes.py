"""Recipes and suites as files: check, show, schema."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from dreamfusion_kit.cli.program import AssetArgument, SuiteOption, app, command
from dreamfusion_kit.errors import printable
from dreamfusion_kit.recipe import check, json_schema, yaml_text
from dreamfusion_kit.recipe.resolved import resolve
from dreamfusion_kit.recipe.workspace import locate


@command(app, "validate", "python cli.py validate recipes/toybox.yaml")
def validate(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILES", help="All by default.")
    ] = None,
) -> None:
    """Check recipes, suites and scenes, and report every problem with its line.

    Without FILES: recipes/**/*.yaml, params.yaml, suites/*/suite.yaml with its assets, and
    scenes/*.yaml. Any other file is a recipe.
    """
    checked = files or check.workspace_files(locate().workspace)
    check.check_files(checked)
    for note in check.notes(checked):
        print(note, file=sys.stderr)
    for file in checked:
        print(printable(f"{file}: ok"))


@command(app, "show", "python cli.py show red_mug")
def show(asset: AssetArgument, suite: SuiteOption = None) -> None:
    """Print what an asset is made from: its recipe with overrides applied, and its identity.

    The identity is a hash of prompt, seed and recipe; equal identities mean equal inputs.
    """
    show_asset(suite, asset)


def show_asset(suite: str | None, asset: str) -> None:
    """Print what an asset is made from."""
    here = locate(suite)
    resolved = resolve(here.workspace, here.suite, asset)
    print(yaml_text.dump(resolved.summary()), end="")


@command(app, "schema", "python cli.py schema > recipes/recipe.schema.json")
def schema(
    scene: Annotated[bool, typer.Option("--scene", help="Of scenes instead.")] = False,
) -> None:
    """Print the JSON Schema of recipes, or of scenes, for editors."""
    print(json_schema.scene_json_schema() if scene else json_schema.recipe_json_schema(), end="")
