"""What the settings of all the toybox's trainings share."""

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from dreamfusion_kit.recipe.schema import (
    CameraSection,
    Count,
    Fraction,
    PlainBackgroundSection,
    Positive,
    Section,
    Steps,
)
from dreamfusion_kit.toybox.shapes import OBJECTS


class TrainingSection(Section):
    """What all trainings share."""

    seed: int = Field(description="Seed of initial values, batches, captions and noise.")
    num_steps: Count = Field(description="Optimiser steps.")
    batch_size: Count = Field(description="Images per step.")
    learning_rate: Positive = Field(description="AdamW's rate on the plateau.")
    warmup_steps: Count = Field(description="Steps of linear warm-up.")
    decay_steps: Count = Field(description="Last steps, over which the rate falls to zero.")
    weight_decay: Fraction = Field(description="AdamW's decoupled weight decay.")
    checkpoint_every_steps: Count = Field(description="Steps between resumable checkpoints.")
    background: PlainBackgroundSection = Field(
        description="Drawn again for each image of each batch."
    )


def _names_every_object(weights: dict[str, float]) -> dict[str, float]:
    if set(weights) != set(OBJECTS):
        raise ValueError(
            f"found {', '.join(sorted(weights))}, expected {', '.join(sorted(OBJECTS))}"
        )
    return weights


class UnetSection(Section):
    """The shape of a U-Net, which the pixel prior and that on latents share."""

    block_out_channels: tuple[Count, ...] = Field(
        min_length=1, description="U-Net channels per level."
    )
    layers_per_block: Count = Field(description="Residual blocks per level.")
    attention_levels: tuple[Steps, ...] = Field(
        description="Levels with cross-attention; 0 is the finest."
    )

    @model_validator(mode="after")
    def _attends_at_levels_it_has(self) -> "UnetSection":
        count = len(self.block_out_channels)
        if unknown := [level for level in self.attention_levels if level >= count]:
            raise ValueError(
                f"found {unknown[0]} among attention_levels with {count} block_out_channels, "
                f"expected 0 to {count - 1}"
            )
        return self


def _has_one_size(camera: CameraSection) -> CameraSection:
    if not isinstance(camera.image_size_px, int):
        raise ValueError("found sizes per stretch of steps, expected one image_size_px")
    return camera


def _draws_single_views(camera: CameraSection) -> CameraSection:
    if camera.object_views is not None:
        raise ValueError("found object_views, expected none: these views are drawn one by one")
    return camera


OneSizeCamera = Annotated[CameraSection, AfterValidator(_has_one_size)]
SingleViewCamera = Annotated[OneSizeCamera, AfterValidator(_draws_single_views)]
ObjectWeights = Annotated[dict[str, Positive], AfterValidator(_names_every_object)]
