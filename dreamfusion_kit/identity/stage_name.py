"""The stages by name: what DVC runs, and what has a digest of its code."""

from typing import Literal, get_args

from typing_extensions import TypeIs  # in `typing` from 3.13 on

AssetStage = Literal["embed", "optimize", "mesh", "refine", "evaluate"]
ToyboxTraining = Literal[
    "toybox_train_prior",
    "toybox_train_clip",
    "toybox_train_view",
    "toybox_train_vae",
    "toybox_train_latent",
    "toybox_train_flow",
    "toybox_train_multi_view",
]
ToyboxStage = Literal["toybox", ToyboxTraining, "toybox_evaluate"]
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
    ToyboxStage,
]

ASSET_STAGES: tuple[AssetStage, ...] = get_args(AssetStage)
TOYBOX_TRAININGS: tuple[ToyboxTraining, ...] = get_args(ToyboxTraining)


def is_toybox(name: CodeName) -> TypeIs[ToyboxStage]:
    """Return whether a stage makes the embedded world: of kit.json it depends on its code alone."""
    return name in get_args(ToyboxStage)


def asset_stages(*, imported: bool, refined: bool) -> tuple[AssetStage, ...]:
    """Return an asset's stages in their order.

    An imported mesh needs no field, and its prompt's features only to be refined; only an asset
    whose recipe refines has the stage `refine`.
    """
    left_out: set[AssetStage] = set() if refined else {"refine"}
    if imported:
        left_out |= {"optimize"} if refined else {"embed", "optimize"}
    return tuple(stage for stage in ASSET_STAGES if stage not in left_out)
