"""Checks whole files: recipes, and suites with every asset resolved."""

from collections.abc import Iterable
from pathlib import Path

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.document import file_error
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.suite import DEFAULT, check_suite


def workspace_files(workspace: Path) -> list[Path]:
    """Return every recipe and suite file of the workspace.

    Raises:
        RecipeError: where there is none, since checking nothing would look like success.
    """
    recipes = sorted((workspace / "recipes").rglob("*.yaml"))
    suites = sorted((workspace / "suites").glob("*/params.yaml"))
    root = workspace / "params.yaml"
    files = [*recipes, *([root] if root.exists() else []), *suites]
    if not files:
        raise file_error(
            root.resolve(),
            "found neither this file nor recipes/*.yaml; run this at the root of a workspace",
        )
    return files


def check_files(files: Iterable[Path]) -> None:
    """Check each file: a params.yaml as a suite, anything else as a recipe.

    Raises:
        RecipeError: with the problems of all files, one per line.
    """
    messages: dict[str, None] = {}  # an ordered set: a suite repeats its recipes' problems
    for file in files:
        try:
            _check_file(file)
        except RecipeError as error:
            messages |= dict.fromkeys(str(error).splitlines())
    if messages:
        raise RecipeError("\n".join(messages))


def _check_file(file: Path) -> None:
    if file.name != "params.yaml":
        load_recipe(file)
    elif file.parent.parent.name == "suites":
        check_suite(file.parents[2], file.parent.name)
    else:
        check_suite(file.parent, DEFAULT)
