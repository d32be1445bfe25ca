"""The stages by name: what DVC runs, and what has a digest of its code."""

from typing import Literal, get_args

AssetStage = Literal["embed", "optimize", "mesh", "evaluate"]
CodeName = Literal[
    "fetch", "embed", "optimize", "mesh", "evaluate", "score", "report", "toybox", "toybox_evaluate"
]

ASSET_STAGES: tuple[AssetStage, ...] = get_args(AssetStage)
