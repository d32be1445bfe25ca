"""The source of a new workspace: the recipes, protocols and pipeline that come with the kit.

An installed kit carries copies of a clone's recipes/, protocols/ and dvc.yaml; a clone has the
originals.
"""

from pathlib import Path

_CARRIED = Path(__file__).with_name("shipped")
_CLONE = Path(__file__).parents[2]


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


def pipeline() -> str:
    """Return the text of the default suite's dvc.yaml."""
    return (_root() / "dvc.yaml").read_text(encoding="utf-8")


def _root() -> Path:
    return _CARRIED if _CARRIED.is_dir() else _CLONE
