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


def pipeline() -> str:
    """Return the text of the default suite's dvc.yaml."""
    return (_root() / "dvc.yaml").read_text(encoding="utf-8")


def _root() -> Path:
    return _CARRIED if _CARRIED.is_dir() else _CLONE
