"""What is logged at each step. No clock: equal runs have bit-identical histories."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

import torch
from jaxtyping import Float64
from torch import Tensor


@dataclass(frozen=True)
class StepMetrics:
    """Numbers of one optimiser step."""

    opacity: float  # mean over the step's images, 0-1
    guidance_norm: float  # norm of the guidance's gradient on the images
    gradient_norm: float  # norm of the gradient of all parameters, before clipping
    regularization: float  # weighted sum of the penalties
    timestep: float  # mean diffusion time of the batch, 0-1


METRIC_NAMES = tuple(field.name for field in fields(StepMetrics))


def to_tensor(history: Sequence[StepMetrics]) -> Float64[Tensor, "steps metrics"]:
    """Return the history as one table, for a checkpoint."""
    rows = [astuple(metrics) for metrics in history]
    return torch.tensor(rows, dtype=torch.float64).reshape(len(rows), len(METRIC_NAMES))


def from_tensor(table: Float64[Tensor, "steps metrics"]) -> list[StepMetrics]:
    """Return the history from the table that `to_tensor` made."""
    return [StepMetrics(*row) for row in table.tolist()]
