"""A new suite: a folder that is a DVC project of its own."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from string import Template

from dreamfusion_kit import files
from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.suite import Suite, load_protocol, load_suite
from dreamfusion_kit.recipe.workspace import DEFAULT, protocol_file, recipe_file, suite_root
from dreamfusion_kit.recipe.yaml_text import scalar
from dreamfusion_kit.workspace import shipped
from dreamfusion_kit.workspace.copies import copy_protocol
from dreamfusion_kit.workspace.dvc_project import make_subproject
from dreamfusion_kit.workspace.pipeline import TEMPLATES, write_pipelines
from dreamfusion_kit.workspace.protocol import is_pretrained, protocol
from dreamfusion_kit.workspace.sync import sync

_SHARED_PROTOCOL = "# A protocol of its own; null for the one in params.yaml.\nevaluation: null\n"


def new_suite(
    workspace: Path,
    name: str,
    *,
    seeds: Sequence[int] | None = None,
    recipe: str | None = None,
    protocol_name: str | None = None,
) -> Path:
    """Make the empty suite `name`; return its folder.

    Args:
        workspace: The workspace.
        name: What its folder will be called.
        seeds: The seeds of every asset; None if each has its own.
        recipe: The recipe of most of its assets. If it knows any prompt and the workspace's
            protocol asks for the toybox's captions, the suite gets its own protocol.
        protocol_name: A protocol in protocols/, or one that comes with the kit and is copied there.

    Raises:
        RecipeError: if the name cannot be a suite's, its folder already exists, or the seeds
            are invalid; nothing is left behind.
    """
    root = suite_root(workspace, name)
    if name == DEFAULT or root.exists():
        raise RecipeError(f"suite {name}: is there already ({root}); expected another name")
    text = Template((TEMPLATES / "suite.yaml").read_text(encoding="utf-8"))
    if protocol_name is not None:
        evaluation = _named_protocol(workspace, protocol_name)
    else:
        evaluation = _SHARED_PROTOCOL if recipe is None else _protocol_for(workspace, recipe)
    listed = "null" if seeds is None else f"[{', '.join(map(str, seeds))}]"
    try:
        files.write_text(
            root / "suite.yaml",
            text.substitute(suite=scalar(name), seeds=listed, evaluation=evaluation),
        )
        load_suite(workspace, name)
        make_subproject(root, workspace)
        refresh(workspace, name)
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        raise
    return root


def _protocol_for(workspace: Path, recipe: str) -> str:
    path = recipe_file(workspace, recipe)
    if not path.is_file():
        raise RecipeError(f"--recipe {recipe}: found no {path}, expected a recipe's name")
    loaded = load_recipe(path)
    shared = load_protocol(workspace, DEFAULT)
    fits = not is_pretrained(loaded) or shared.caption_pool.kind != "toybox"
    return _SHARED_PROTOCOL if fits else protocol(loaded)


def _named_protocol(workspace: Path, name: str) -> str:
    """Return the suite's line for a protocol; copy the kit's own if the workspace lacks it."""
    path, shipped_path = protocol_file(workspace, name), shipped.protocols() / f"{name}.yaml"
    if not path.is_file():
        if not shipped_path.is_file():
            known = [file.stem for file in sorted(shipped.protocols().glob("*.yaml"))]
            raise RecipeError(
                f"--protocol {name}: found no {path}, expected a protocol of this workspace or of "
                f"the kit ({', '.join(known)})"
            )
        copy_protocol(workspace, name)
    return f"# protocols/{name}.yaml\nevaluation: {scalar(name)}\n"


def check_seed(suite: Suite, seed: int | None) -> None:
    """Raise RecipeError for a seed beside those that hold for every asset of a suite."""
    if seed is not None and suite.seeds is not None:
        raise RecipeError(
            f"--seed {seed}: expected none, since the suite's seeds hold for every asset"
        )


def refresh(workspace: Path, name: str) -> None:
    """Write the pipelines and digests of a suite whose files were edited."""
    write_pipelines(workspace, load_suite(workspace, name))
    sync(workspace, name)
