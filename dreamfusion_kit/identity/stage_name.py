"""The stages by name: what DVC runs, and what has a digest of its code."""

from typing import Literal, get_args

AssetStage = Literal["embed", "optimize", "mesh", "refine", "evaluate"]
CodeName = Literal[
    "fetch",
    "embed",
    "optimize",
    "mesh",
    "refine",
    "evaluate",
    "score",
    "report",
    "scene",
    "toybox",
    "toybox_evaluate",
]

ASSET_STAGES: tuple[AssetStage, ...] = get_args(AssetStage)
IMPORTED_STAGES: tuple[AssetStage, ...] = ("mesh", "evaluate")


def asset_stages(*, imported: bool, refined: bool) -> tuple[AssetStage, ...]:
    """Return an asset's stages in their order.

    An imported mesh needs no field; only an asset whose recipe refines has the stage `refine`.
    """
    if imported:
        return IMPORTED_STAGES
    return tuple(stage for stage in ASSET_STAGES if refined or stage != "refine")
