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
    "toybox",
    "toybox_evaluate",
]

ASSET_STAGES: tuple[AssetStage, ...] = get_args(AssetStage)


def asset_stages(*, refined: bool) -> tuple[AssetStage, ...]:
    """Return the stages of an asset, in order; `refine` only where its recipe refines."""
    return tuple(stage for stage in ASSET_STAGES if refined or stage != "refine")
