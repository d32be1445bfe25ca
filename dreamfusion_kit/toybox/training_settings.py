"""What the settings of all the toybox's trainings share."""

from typing import Annotated

from pydantic import AfterValidator, Field

from dreamfusion_kit.recipe.schema import (
    Count,
    Fraction,
    PlainBackgroundSection,
    Positive,
    Section,
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
        description="Drawn anew for each image of each batch."
    )


def _names_every_object(weights: dict[str, float]) -> dict[str, float]:
    if set(weights) != set(OBJECTS):
        raise ValueError(
            f"found {', '.join(sorted(weights))}, expected {', '.join(sorted(OBJECTS))}"
        )
    return weights


ObjectWeights = Annotated[dict[str, Positive], AfterValidator(_names_every_object)]
