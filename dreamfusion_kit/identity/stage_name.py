"""The stages by name: what DVC runs, and what has a digest of its code."""

from typing import Literal, get_args

AssetStage = Literal["embed", "optimize", "mesh", "evaluate"]
CodeName = Literal[
    "fetch",
    "embed",
    "optimize",
    "mesh",
    "evaluate",
    "score",
    "report",
    "scene",
    "toybox",
    "toybox_evaluate",
]

ASSET_STAGES: tuple[AssetStage, ...] = get_args(AssetStage)
IMPORTED_STAGES: tuple[AssetStage, ...] = ("mesh", "evaluate")


def asset_stages(*, imported: bool) -> tuple[AssetStage, ...]:
    """Return an asset's stages in their order; an imported mesh needs no field."""
    return IMPORTED_STAGES if imported else ASSET_STAGES
