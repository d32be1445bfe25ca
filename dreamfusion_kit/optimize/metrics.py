"""What is logged at each step. No clock: equal runs have bit-identical histories."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

import torch
from jaxtyping import Float64
from torch import Tensor

from dreamfusion_kit.optimize.shares import NORM_NAMES, GradientNorms


@dataclass(frozen=True)
class StepMetrics:
    """Numbers of one optimiser step; `norms` are measured on a few steps only."""

    opacity: float  # mean over the step's images, 0-1
    guidance_norm: float  # norm of the guidance's gradient on the images, on the lambdas' scale
    gradient_norm: float  # norm of the gradient of all parameters, before clipping
    regularization: float  # sum of the penalties, each times its lambda
    timestep: float  # mean diffusion time of the batch, 0-1
    norms: GradientNorms | None = None

    @property
    def numbers(self) -> dict[str, float]:
        """Return the numbers that every step has, by their names."""
        return {name: getattr(self, name) for name in METRIC_NAMES}

    @property
    def shares(self) -> dict[str, float]:
        """Return each penalty's share, and the guidance's norm on the weights, if measured."""
        if self.norms is None:
            return {}
        shares = {f"share_{n}": x for n, x in self.norms.shares(self.gradient_norm).items()}
        return {"guidance_weights_norm": self.norms.guidance_weights, **shares}


# Not NaN, which would differ from itself where two checkpoints are compared.
_UNMEASURED = -1.0

METRIC_NAMES = tuple(field.name for field in fields(StepMetrics) if field.name != "norms")


def to_tensor(history: Sequence[StepMetrics]) -> Float64[Tensor, "steps metrics"]:
    """Return the history as one table, for a checkpoint; -1 where nothing was measured."""
    unmeasured = (_UNMEASURED,) * len(NORM_NAMES)
    rows = [
        (*metrics.numbers.values(), *(astuple(metrics.norms) if metrics.norms else unmeasured))
        for metrics in history
    ]
    columns = len(METRIC_NAMES) + len(NORM_NAMES)
    return torch.tensor(rows, dtype=torch.float64).reshape(len(rows), columns)


def from_tensor(table: Float64[Tensor, "steps metrics"]) -> list[StepMetrics]:
    """Return the history from the table that `to_tensor` made."""
    return [_from_row(row) for row in table.tolist()]


def _from_row(row: list[float]) -> StepMetrics:
    numbers, norms = row[: len(METRIC_NAMES)], row[len(METRIC_NAMES) :]
    return StepMetrics(*numbers, norms=None if norms[0] == _UNMEASURED else GradientNorms(*norms))
