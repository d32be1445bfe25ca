"""Makes a workspace that works without a clone of the kit."""

import shlex
from pathlib import Path
from string import Template

from dreamfusion_kit import files
from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.recipe.document import did_you_mean
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.schema import Recipe
from dreamfusion_kit.recipe.suite import load_suite
from dreamfusion_kit.recipe.workspace import DEFAULT
from dreamfusion_kit.workspace import shipped
from dreamfusion_kit.workspace.copies import copy_shipped
from dreamfusion_kit.workspace.dvc_project import make_project
from dreamfusion_kit.workspace.pipeline import TEMPLATES, write_pipelines
from dreamfusion_kit.workspace.protocol import is_pretrained, protocol
from dreamfusion_kit.workspace.sync import sync
from dreamfusion_kit.workspace.upgrade import stamp_pipeline

# The first asset has to suit the recipe: the toybox's prior knows sixteen objects.
_TOY = ("red_mug", "a red mug")
_ANYTHING = ("corgi", "a corgi riding a skateboard")


def init(directory: Path, recipe: str) -> str:
    """Make `directory` a workspace whose first asset is made by `recipe`; return what to do next.

    Raises:
        DreamFusionKitError: if the folder is not empty, or the kit has no such recipe.
    """
    source = shipped.recipes()
    known = [path.stem for path in sorted(source.glob("*.yaml"))]
    if recipe not in known:
        meant = did_you_mean(recipe, known)
        hint = f" (did you mean {meant}?)" if meant else f"; there are {', '.join(known)}"
        raise DreamFusionKitError(f"--recipe {recipe}: no such recipe{hint}")
    _refuse_what_is_there(directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except FileNotFoundError as error:  # where no folder can be made, such as in /proc
        raise DreamFusionKitError(
            f"{directory}: {error.strerror}; expected a place where a folder can be made"
        ) from error
    copy_shipped(directory)
    loaded = load_recipe(source / f"{recipe}.yaml")
    asset, prompt = _ANYTHING if is_pretrained(loaded) else _TOY
    meshes = "mesh" if loaded.refine is None else "refined"
    words = {"recipe": recipe, "asset": asset, "prompt": prompt, "meshes": meshes}
    files.write_text(directory / "params.yaml", _filled("params.yaml", words) + protocol(loaded))
    files.write_text(directory / "dvc.yaml", shipped.pipeline(f"  - recipes/{recipe}.yaml\n"))
    stamp_pipeline(directory)
    write_pipelines(directory, load_suite(directory, DEFAULT))
    files.write_text(directory / "README.md", _filled("README.md", words))
    make_project(directory)
    sync(directory, "default")
    return f"{directory}: a workspace; next: {_next(directory, loaded)}"


def _next(directory: Path, recipe: Recipe) -> str:
    enter = f"cd {shlex.quote(str(directory))}"
    if is_pretrained(recipe):
        return f"{enter}; edit the prompt in params.yaml; DREAMFUSION_DEVICE=cuda dvc repro"
    return f"{enter} && dvc repro"


def _filled(template: str, words: dict[str, str]) -> str:
    return Template((TEMPLATES / template).read_text(encoding="utf-8")).substitute(words)


def _refuse_what_is_there(directory: Path) -> None:
    if directory.exists() and not directory.is_dir():
        raise DreamFusionKitError(f"{directory}: found a file, expected a new or empty folder")
    there = directory.iterdir() if directory.is_dir() else ()
    found = sorted(path.name for path in there if path.name != ".git")
    if found:
        raise DreamFusionKitError(
            f"{directory}: found {', '.join(found[:3])}, expected a new or empty folder; choose "
            "another, or move what is there"
        )
