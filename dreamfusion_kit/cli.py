"""The command line: `python cli.py` in a clone, `dreamfusion-kit` where it is installed.

A command reads its arguments, calls one function and prints where the result is. What
loads torch is imported inside the command, so that --help and validate are instant.
Expected failures end with exit status 2 and one line per problem on stderr.
"""

import inspect
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.recipe import check, edit, json_schema, yaml_text
from dreamfusion_kit.recipe import suite as suites

WORKSPACE = Path()  # commands run at the workspace's root, and name files relative to it

CommandT = TypeVar("CommandT", bound=Callable[..., None])


def _group(summary: str, example: str) -> typer.Typer:
    return typer.Typer(
        help=f"\b\n    {example}\n\n{summary}",
        short_help=summary,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,  # plain text can be saved and compared
        pretty_exceptions_enable=False,
    )


def _command(group: typer.Typer, name: str, example: str) -> Callable[[CommandT], CommandT]:
    """Register a command whose help opens with an example to paste, then its docstring."""

    def register(function: CommandT) -> CommandT:
        text = inspect.getdoc(function) or ""
        return group.command(
            name, help=f"\b\n    {example}\n\n{text}", short_help=text.partition("\n")[0]
        )(function)

    return register


app = _group(
    "Text to 3D by score distillation: prompts in, measured meshes out.", "python cli.py validate"
)
suite_app = _group("List and edit the assets of a suite.", "python cli.py suite list")
app.add_typer(suite_app, name="suite")

AssetArgument = Annotated[str, typer.Argument(metavar="ASSET", help="Id of the asset.")]
SuiteOption = Annotated[
    str, typer.Option(metavar="NAME", help="default is params.yaml, NAME is suites/NAME.")
]


def main() -> None:
    """Run the command line; an expected failure becomes its message and exit status 2."""
    try:
        app()
    except DreamFusionKitError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def _print_version(asked: bool) -> bool:
    if asked:
        try:
            print(f"dreamfusion-kit {installed_version('dreamfusion-kit')}")
        except PackageNotFoundError:
            print("dreamfusion-kit, not installed: run from a clone")
        raise typer.Exit
    return asked


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    # Options of the program itself. Its help is the group's.
    pass


@_command(app, "validate", "python cli.py validate recipes/toybox.yaml")
def validate(
    files: Annotated[
        list[Path] | None, typer.Argument(metavar="FILES", help="All of them by default.")
    ] = None,
) -> None:
    """Check recipes and suites, and report every problem by its line.

    Without FILES: recipes/**/*.yaml, params.yaml and suites/*/params.yaml. A file named
    params.yaml is a suite, any other a recipe.
    """
    checked = files or check.workspace_files(WORKSPACE)
    check.check_files(checked)
    for file in checked:
        print(f"{file}: ok")


@_command(app, "show", "python cli.py show red_mug")
def show(asset: AssetArgument, suite: SuiteOption = suites.DEFAULT) -> None:
    """Print what an asset is made from: its recipe with overrides applied, and its identity.

    The identity is a hash of prompt, seed and recipe; equal identities mean equal inputs.
    """
    resolved = suites.resolve(WORKSPACE, suite, asset)
    print(yaml_text.dump(resolved.summary()), end="")


@_command(app, "schema", "python cli.py schema > recipes/recipe.schema.json")
def schema() -> None:
    """Print the JSON Schema of recipes, for editors."""
    print(json_schema.recipe_json_schema(), end="")


@_command(suite_app, "list", "python cli.py suite list --suite toybox-16")
def suite_list(suite: SuiteOption = suites.DEFAULT) -> None:
    """List the assets of a suite: id, recipe, seed and prompt."""
    assets = suites.load_suite(WORKSPACE, suite).assets
    id_width = max(len(asset_id) for asset_id in assets)
    recipe_width = max(len(asset.recipe) for asset in assets.values())
    for asset_id, asset in assets.items():
        print(f"{asset_id:{id_width}}  {asset.recipe:{recipe_width}}  {asset.seed}  {asset.prompt}")


@_command(suite_app, "add", 'python cli.py suite add blue_car "a blue car"')
def suite_add(
    asset: AssetArgument,
    prompt: Annotated[str, typer.Argument(metavar="PROMPT", help="What to make.")],
    recipe: Annotated[
        str, typer.Option(metavar="NAME", help="A recipe: recipes/NAME.yaml.")
    ] = "toybox",
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of everything random.")] = 0,
    suite: SuiteOption = suites.DEFAULT,
) -> None:
    """Add an asset at the end of a suite. Comments and all else in the file stay."""
    path = edit.add_asset(WORKSPACE, suite, asset, prompt=prompt, recipe=recipe, seed=seed)
    print(f"{path}: added {asset}")


@_command(suite_app, "rm", "python cli.py suite rm blue_car")
def suite_rm(asset: AssetArgument, suite: SuiteOption = suites.DEFAULT) -> None:
    """Remove an asset from a suite. What was made of it stays in out/."""
    path = edit.remove_asset(WORKSPACE, suite, asset)
    print(f"{path}: removed {asset}")
