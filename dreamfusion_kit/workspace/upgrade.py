"""Brings a workspace to the installed version of the kit, and says what will rerun."""

import difflib
import hashlib
from collections.abc import Iterable
from pathlib import Path

from dreamfusion_kit import files
from dreamfusion_kit.recipe.suite import DEFAULT, load_suite
from dreamfusion_kit.recipe.workspace import suite_names, suite_root
from dreamfusion_kit.workspace import shipped
from dreamfusion_kit.workspace.dvc_project import make_subproject
from dreamfusion_kit.workspace.pipeline import write_pipelines
from dreamfusion_kit.workspace.sync import sync


def upgrade(workspace: Path, names: Iterable[str] | None = None) -> str:
    """Write pipelines and digests of the suites `names`, of all by default; return the story.

    Raises:
        RecipeError: with every problem of a suite.
    """
    lines: list[str] = []
    for name in names or suite_names(workspace):
        if name == DEFAULT:
            lines += _upgrade_pipeline(workspace)
        else:
            make_subproject(suite_root(workspace, name), workspace)
            written = write_pipelines(workspace, load_suite(workspace, name))
            lines += [f"{path}: written" for path in written]
        lines += [f"{name}: {key} changed: reruns" for key in sync(workspace, name)]
    return "".join(f"{line}\n" for line in lines or ["everything is up to date"])


def _upgrade_pipeline(workspace: Path) -> list[str]:
    """Replace dvc.yaml where the kit wrote it; where it was edited, show what is new."""
    path = workspace / "dvc.yaml"
    stamp = workspace / ".dvc" / "dreamfusion-kit.pipeline"
    old = path.read_text(encoding="utf-8")
    new = _of_these_recipes(shipped.pipeline(), old)
    if old == new:
        return []
    if stamp.exists() and stamp.read_text(encoding="utf-8").strip() == digest(old):
        files.write_text(path, new)
        files.write_text(stamp, digest(new) + "\n")
        return [f"{path}: written"]
    difference = difflib.unified_diff(
        old.splitlines(), new.splitlines(), str(path), "as this version has it", lineterm=""
    )
    return [f"{path}: edited by hand, kept; what this version has:", *difference]


def digest(text: str) -> str:
    """Return the SHA-256 of a pipeline's text."""
    return hashlib.sha256(text.encode()).hexdigest()


def _of_these_recipes(shipped_text: str, own: str) -> str:
    """Return the shipped pipeline with the recipes that the workspace's own one lists."""
    listed = [line for line in own.splitlines() if line.startswith("  - recipes/")]
    return shipped_text.replace("  - recipes/toybox.yaml", "\n".join(listed), 1)
