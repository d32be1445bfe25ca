"""Everything that a run changes, saved to a checkpoint and restored from it."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from dreamfusion_kit.errors import CheckpointError
from dreamfusion_kit.guidance.base import Guidance
from dreamfusion_kit.optimize import metrics
from dreamfusion_kit.optimize.metrics import StepMetrics
from dreamfusion_kit.optimize.trace import Digests, Trace
from dreamfusion_kit.optimize.trainee import Trainee
from dreamfusion_kit.optimizer_state import load_optimizer_tensors, optimizer_tensors, under


@dataclass(frozen=True)
class RunState:
    """The changing parts of a run. The number of steps done is the history's length."""

    trainee: Trainee
    optimizer: torch.optim.Optimizer
    guidance: Guidance
    history: list[StepMetrics]
    trace: Trace


def to_tensors(state: RunState) -> dict[str, Tensor]:
    """Return the state as named tensors, without learning rates, which follow from the step."""
    tensors = {
        "history": metrics.to_tensor(state.history),
        "trace": state.trace.digests(len(state.history)),
        **state.trainee.state_tensors(),
    }
    for name, tensor in optimizer_tensors(state.optimizer).items():
        tensors[f"optimizer/{name}"] = tensor
    for name, tensor in state.guidance.state_tensors().items():
        tensors[f"guidance/{name}"] = tensor
    return tensors


def restore(state: RunState, tensors: Mapping[str, Tensor]) -> None:
    """Replace the state's tensors with a checkpoint's."""
    with _of_this_run():
        state.trainee.load_state_tensors(tensors)
        load_optimizer_tensors(state.optimizer, under("optimizer/", tensors))
        state.guidance.load_state_tensors(under("guidance/", tensors))
        state.trace.load(tensors["trace"])
        state.history[:] = metrics.from_tensor(tensors["history"])


def restore_trainee(
    trainee: Trainee, tensors: Mapping[str, Tensor]
) -> tuple[list[StepMetrics], Digests]:
    """Set a trainee to a checkpoint's state, and return the steps until then and their digests."""
    with _of_this_run():
        trainee.load_state_tensors(tensors)
        return metrics.from_tensor(tensors["history"]), tensors["trace"]


@contextmanager
def _of_this_run() -> Generator[None, None, None]:
    """Turn an error about tensors that do not fit into a CheckpointError."""
    try:
        yield
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"the checkpoint does not fit this run ({str(error).splitlines()[0]}); expected one "
            "of the same code and recipe; remove its scratch directory to start over"
        ) from error
