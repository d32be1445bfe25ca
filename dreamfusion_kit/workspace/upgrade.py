"""Brings a workspace to the installed version of the kit, and says what will rerun."""

import difflib
import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from dreamfusion_kit import files
from dreamfusion_kit.recipe.load import read_text
from dreamfusion_kit.recipe.resolved import refined_assets
from dreamfusion_kit.recipe.scene import scene_names
from dreamfusion_kit.recipe.suite import Suite, load_suite
from dreamfusion_kit.recipe.workspace import DEFAULT, suite_names, suite_root
from dreamfusion_kit.workspace import copies, reruns, shipped
from dreamfusion_kit.workspace.default_pipeline import without_refinement
from dreamfusion_kit.workspace.dvc_project import make_subproject
from dreamfusion_kit.workspace.patch import patch
from dreamfusion_kit.workspace.pipeline import write_pipelines
from dreamfusion_kit.workspace.sync import sync

_STAMP = Path(".dvc/dreamfusion-kit.pipeline")
_RECIPE = "  - recipes/"


def upgrade(workspace: Path, names: Iterable[str] | None = None) -> Iterator[str]:
    """Bring suites to the installed version; yield a line about each change, as it happens.

    Args:
        workspace: The workspace.
        names: The suites whose pipelines and digests are written. None for all of them, and then
            the workspace's copies of recipes and protocols come first.

    Raises:
        DreamFusionKitError: with every problem of a suite; what was said before has happened.
    """
    if names is None:
        yield from copies.upgrade_copies(workspace)
    for name in suite_names(workspace) if names is None else names:
        suite = load_suite(workspace, name)
        if name == DEFAULT:
            yield from _upgrade_pipeline(workspace, suite)
        else:
            make_subproject(suite_root(workspace, name), workspace)
        for path in write_pipelines(workspace, suite):
            yield f"{path}: written"
        for line in _reruns(workspace, suite, sync(workspace, name)):
            yield f"{name}: {line}"


def differences(workspace: Path) -> Iterator[str]:
    """Yield a patch that makes the workspace's recipes and protocols those of this version.

    A file that the workspace lacks or has under another name is not in it.
    """
    for name, own, new in copies.pairs(workspace):
        yield from patch(name, own, new)


def _reruns(workspace: Path, suite: Suite, changed: list[str]) -> list[str]:
    refined = bool(refined_assets(workspace, suite))
    if not scene_names(workspace, suite.name):
        changed = [key for key in changed if key != "code.scene"]
    return reruns.describe(changed, list(suite.assets), refined=refined)


def stamp_pipeline(workspace: Path) -> None:
    """Record which version of the kit's pipeline the workspace's dvc.yaml was made from."""
    files.write_text(workspace / _STAMP, _digest(shipped.pipeline()) + "\n")


def _upgrade_pipeline(workspace: Path, suite: Suite) -> list[str]:
    """Replace dvc.yaml if the kit wrote it or it is gone; if it was edited, show what is new."""
    path, stamp = workspace / "dvc.yaml", workspace / _STAMP
    if not os.path.lexists(path):
        listed = "".join(f"{_RECIPE}{name}.yaml\n" for name in suite.recipes)
        files.write_text(path, shipped.pipeline(listed))
        stamp_pipeline(workspace)
        return [f"{path}: written"]
    old = "\n".join(read_text(path).split("\r\n"))
    newest = shipped.pipeline(_listed_recipes(old))
    made_from = read_text(stamp, kind="a digest").strip() if stamp.exists() else None
    if _digest(newest) in (made_from, _digest(old)):  # nothing is new, or it is already there
        return []
    if made_from == _digest(old):
        files.write_text(path, newest)
        stamp_pipeline(workspace)
        return [f"{path}: written"]
    difference = difflib.unified_diff(
        old.splitlines(), newest.splitlines(), str(path), "as this version has it", lineterm=""
    )
    return [f"{path}: edited by hand, kept; what this version has:", *difference]


def _digest(pipeline: str) -> str:
    """Return the SHA-256 of a pipeline's text, whichever recipes it shows in experiments."""
    plain = without_refinement(pipeline)
    lines = [line for line in plain.splitlines() if not line.startswith(_RECIPE)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _listed_recipes(pipeline: str) -> str:
    """Return the lines that name recipes to show in experiments: the user's."""
    return "".join(line for line in pipeline.splitlines(True) if line.startswith(_RECIPE))
