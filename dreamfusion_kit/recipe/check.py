"""Checks whole files: recipes, and suites with every asset resolved."""

from collections.abc import Iterable
from pathlib import Path

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.document import Document, Problem, file_error
from dreamfusion_kit.recipe.judge import reading_notes, unreadable
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.protocol import load_protocol_file
from dreamfusion_kit.recipe.resolved import resolve_all
from dreamfusion_kit.recipe.scene import FOLDER, load_scene, scene_file, scene_names
from dreamfusion_kit.recipe.suite import Suite, load_suite, parse_params
from dreamfusion_kit.recipe.workspace import (
    DEFAULT,
    PARAMS_FILE,
    PROTOCOLS,
    SUITE_FILE,
    suite_file,
    suite_names,
)


def workspace_files(workspace: Path) -> list[Path]:
    """Return every recipe, protocol, suite and scene file of the workspace.

    Raises:
        RecipeError: if there are none, since checking nothing would look like success.
    """
    recipes = sorted((workspace / "recipes").rglob("*.yaml"))
    protocols = sorted((workspace / PROTOCOLS).glob("*.yaml"))
    suites = [suite_file(workspace, name) for name in suite_names(workspace)]
    scenes = [
        scene_file(workspace, suite, name)
        for suite in suite_names(workspace)
        for name in scene_names(workspace, suite)
    ]
    files = [*recipes, *protocols, *suites, *scenes]
    if not files:
        raise file_error(
            (workspace / PARAMS_FILE).resolve(),
            "found neither this file nor recipes/*.yaml; run this at the root of a workspace",
        )
    return files


def check_files(files: Iterable[Path]) -> None:
    """Check each file: as suite, protocol, scene or recipe, by its name and folder.

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


def notes(files: Iterable[Path]) -> list[str]:
    """Return notes on files that passed, one line each, such as on long prompts."""
    lines: list[str] = []
    for file in files:
        suite = _suite_of(file)
        if suite is not None:
            workspace, name = suite
            loaded = load_suite(workspace, name)
            found = reading_notes(loaded.evaluation, loaded.prompts, workspace)
            lines += [f"{file}: assets.{asset}.prompt: {text}" for asset, text in found.items()]
    return lines


def _check_file(file: Path) -> None:
    suite = _suite_of(file)
    if suite is not None:
        check_suite(*suite)
    elif file.absolute().parent.name == PROTOCOLS:
        load_protocol_file(file)
    elif file.absolute().parent.name == FOLDER:
        load_scene(*_suite_of_scene(file), file.stem)
    else:
        load_recipe(file)


def _suite_of(file: Path) -> tuple[Path, str] | None:
    """Return the workspace and the name of the suite that the file holds; None for a recipe."""
    if file.name == PARAMS_FILE:
        return file.parent, DEFAULT
    if file.name == SUITE_FILE and file.absolute().parents[1].name == "suites":
        parents = file.parents
        workspace = parents[2] if len(parents) > 2 else file.parent / "../.."
        return workspace, file.absolute().parent.name
    return None


def _suite_of_scene(file: Path) -> tuple[Path, str]:
    """Return the workspace and the suite whose folder of scenes holds the file."""
    root = file.parents[1] if len(file.parents) > 1 else file.parent / ".."
    if (root / SUITE_FILE).is_file():
        return root / "../..", root.absolute().name
    return root, DEFAULT
