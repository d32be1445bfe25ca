"""The source of a new workspace: the recipes, protocols and pipeline that come with the kit.

An installed kit carries copies of a clone's recipes/, protocols/ and dvc.yaml; a clone has the
originals.
"""

import re
from pathlib import Path

from dreamfusion_kit.workspace.default_pipeline import without_refinement

_CARRIED = Path(__file__).with_name("shipped")
_CLONE = Path(__file__).parents[2]
_LISTED = re.compile(r"(?:^  - recipes/.*\n)+", re.MULTILINE)


def recipes() -> Path:
    """Return the folder of the recipes that come with the kit."""
    return _root() / "recipes"


def protocols() -> Path:
    """Return the folder of the protocols that come with the kit."""
    return _root() / "protocols"


def copied() -> dict[str, Path]:
    """Return the files of which a new workspace gets copies: by their places there, sorted."""
    folders = (recipes(), protocols())
    found = sorted(path for folder in folders for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(_root()).as_posix(): path for path in found}


def is_source(workspace: Path) -> bool:
    """Return whether `workspace` is the clone that the running kit ships from."""
    return _root().samefile(workspace)


def pipeline(listed: str = "") -> str:
    """Return a default suite's dvc.yaml in which no asset is refined.

    The original is that of the kit's own default suite, whose assets are.

    Args:
        listed: The lines of `params:` that name recipes.
    """
    text = without_refinement((_root() / "dvc.yaml").read_text(encoding="utf-8"))
    return _LISTED.sub(lambda _: listed, text, count=1)


def _root() -> Path:
    return _CARRIED if _CARRIED.is_dir() else _CLONE
