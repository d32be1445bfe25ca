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


def asset_stages(*, imported: bool, refined: bool) -> tuple[AssetStage, ...]:
    """Return an asset's stages in their order.

    An imported mesh needs no field, and its prompt's features only to be refined; only an asset
    whose recipe refines has the stage `refine`.
    """
    left_out: set[AssetStage] = set() if refined else {"refine"}
    if imported:
        left_out |= {"optimize"} if refined else {"embed", "optimize"}
    return tuple(stage for stage in ASSET_STAGES if stage not in left_out)
