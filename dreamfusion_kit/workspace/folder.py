"""A new suite: a folder that is a DVC project of its own."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from string import Template

from dreamfusion_kit import files
from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.suite import DEFAULT, load_suite
from dreamfusion_kit.recipe.workspace import suite_root
from dreamfusion_kit.workspace.dvc_project import make_subproject
from dreamfusion_kit.workspace.pipeline import TEMPLATES, write_pipelines
from dreamfusion_kit.workspace.sync import sync


def new_suite(workspace: Path, name: str, *, seeds: Sequence[int] | None = None) -> Path:
    """Make the empty suite `name`, whose assets have these seeds; return its folder.

    Raises:
        RecipeError: where the name cannot be a suite's, its folder is there already, or the
            seeds are not such; nothing is left then.
    """
    root = suite_root(workspace, name)
    if name == DEFAULT or root.exists():
        raise RecipeError(f"suite {name}: is there already ({root}); expected another name")
    text = Template((TEMPLATES / "suite.yaml").read_text(encoding="utf-8"))
    listed = "null" if seeds is None else f"[{', '.join(map(str, seeds))}]"
    try:
        files.write_text(root / "suite.yaml", text.substitute(suite=name, seeds=listed))
        load_suite(workspace, name)
        make_subproject(root, workspace)
        refresh(workspace, name)
    except BaseException:
        shutil.rmtree(root, ignore_errors=True)
        raise
    return root


def refresh(workspace: Path, name: str) -> None:
    """Write the pipelines and digests of a suite whose files were edited."""
    write_pipelines(workspace, load_suite(workspace, name))
    sync(workspace, name)
