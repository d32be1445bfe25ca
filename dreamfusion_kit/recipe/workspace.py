"""Where a workspace is, and where its suites' folders are.

A workspace has params.yaml, the default suite, and recipes/. Any other suite NAME is the folder
suites/NAME. Commands run at the workspace's root, or in a suite's folder and then apply to
that suite.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from dreamfusion_kit.command_name import command_name
from dreamfusion_kit.errors import RecipeError

DEFAULT = "default"
NAME = r"^[a-z0-9_][a-z0-9_-]{0,63}$"  # no - first: stages get it as an argument
SUITE_FILE = "suite.yaml"
SOURCE = "source"  # the folder of an imported asset's files
PARAMS_FILE = "params.yaml"
PROTOCOLS = "protocols"


@dataclass(frozen=True)
class Location:
    """A workspace's root, relative to the current folder, and the selected suite."""

    workspace: Path
    suite: str


def locate(suite: str | None = None) -> Location:
    """Return the workspace of the current folder, which is its root or one of its suites' folders.

    Args:
        suite: The suite that the user named, if any.

    Raises:
        RecipeError: if the current folder is neither, or the name cannot be a suite's.
    """
    here = Path.cwd()
    if (here / SUITE_FILE).is_file() and here.parent.name == "suites":
        return _found(Path("../.."), suite or here.name)
    if (here / PARAMS_FILE).is_file():
        return _found(Path(), suite or DEFAULT)
    raise RecipeError(
        f"{here}: found no {PARAMS_FILE}; expected the root of a workspace or the folder of one "
        f"of its suites; go there, or make one with `{command_name()} init DIR`"
    )


def _found(workspace: Path, suite: str) -> Location:
    path = suite_file(workspace, suite)
    if not path.is_file():
        raise RecipeError(
            f"{path}: no such suite; there are {', '.join(suite_names(workspace))}; make one with "
            f"`{command_name()} suite new {suite}`"
        )
    return Location(workspace, suite)


def suite_root(workspace: Path, suite: str) -> Path:
    """Return the folder that holds a suite's outputs and its dvc.yaml."""
    _checked(suite)
    return workspace if suite == DEFAULT else workspace / "suites" / suite


def suite_file(workspace: Path, suite: str) -> Path:
    """Return the file that defines a suite."""
    return suite_root(workspace, suite) / (PARAMS_FILE if suite == DEFAULT else SUITE_FILE)


def suite_names(workspace: Path) -> list[str]:
    """Return the names of the workspace's suites, the default one first."""
    folders = sorted((workspace / "suites").glob(f"*/{SUITE_FILE}"))
    root = [DEFAULT] if (workspace / PARAMS_FILE).is_file() else []
    return [*root, *(path.parent.name for path in folders)]


def recipe_file(workspace: Path, recipe: str) -> Path:
    """Return the file of the recipe `recipe`."""
    if not re.fullmatch(NAME, recipe):
        raise RecipeError(
            f"recipe {recipe!r}: expected a name of a-z, 0-9, _ and -, without - at the start"
        )
    return workspace / "recipes" / f"{recipe}.yaml"


def asset_source(workspace: Path, suite: str, asset: str) -> Path:
    """Return the folder of the files that an imported asset of a suite's folder is made from."""
    return suite_root(workspace, suite) / "assets" / asset / SOURCE


def protocol_file(workspace: Path, protocol: str) -> Path:
    """Return the file of the protocol `protocol`."""
    if not re.fullmatch(NAME, protocol):
        raise RecipeError(
            f"protocol {protocol!r}: expected a name of a-z, 0-9, _ and -, without - at the start"
        )
    return workspace / PROTOCOLS / f"{protocol}.yaml"


def _checked(name: str) -> str:
    if not re.fullmatch(NAME, name):
        raise RecipeError(
            f"suite {name!r}: expected a name of a-z, 0-9, _ and -, without - at the start"
        )
    return name
