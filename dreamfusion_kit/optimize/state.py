"""Everything that a run changes as it goes, and its way into a checkpoint and back."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from dreamfusion_kit.errors import CheckpointError
from dreamfusion_kit.field.background_mlp import BackgroundMlp
from dreamfusion_kit.field.base import Field
from dreamfusion_kit.field.proposal_mlp import ProposalMlp
from dreamfusion_kit.guidance.base import Guidance
from dreamfusion_kit.optimize import metrics
from dreamfusion_kit.optimize.metrics import StepMetrics
from dreamfusion_kit.optimizer_state import load_optimizer_tensors, optimizer_tensors, under
from dreamfusion_kit.recipe.schema import PlainBackgroundSection
from dreamfusion_kit.renderer.occupancy import OccupancyGrid


@dataclass(frozen=True)
class RunState:
    """The changing parts of a run. The number of steps done is the history's length.

    `background` is a network where it is learned, and else what plain ones are drawn from.
    """

    field: Field
    background: BackgroundMlp | PlainBackgroundSection
    proposal: ProposalMlp | None
    occupancy: OccupancyGrid
    optimizer: torch.optim.Optimizer
    guidance: Guidance
    history: list[StepMetrics]

    def set_step(self, step: int) -> None:
        """Bring all parts that depend on the step to optimiser step `step`."""
        self.field.set_step(step)
        self.occupancy.set_step(step)
        if self.proposal is not None:
            self.proposal.set_step(step)


def to_tensors(state: RunState) -> dict[str, Tensor]:
    """Return the state as named tensors; learning rates are no part of it (see the step)."""
    tensors = {"history": metrics.to_tensor(state.history)}
    for name, tensor in state.field.state_dict().items():
        tensors[f"field/{name}"] = tensor
    if isinstance(state.background, BackgroundMlp):
        for name, tensor in state.background.state_dict().items():
            tensors[f"background/{name}"] = tensor
    if state.proposal is not None:
        for name, tensor in state.proposal.state_dict().items():
            tensors[f"proposal/{name}"] = tensor
    for name, tensor in state.occupancy.state_dict().items():
        tensors[f"occupancy/{name}"] = tensor
    for name, tensor in optimizer_tensors(state.optimizer).items():
        tensors[f"optimizer/{name}"] = tensor
    for name, tensor in state.guidance.state_tensors().items():
        tensors[f"guidance/{name}"] = tensor
    return tensors


def restore(state: RunState, tensors: Mapping[str, Tensor]) -> None:
    """Put a checkpoint's tensors in the place of the state's own."""
    try:
        state.field.load_state_dict(under("field/", tensors))
        if isinstance(state.background, BackgroundMlp):
            state.background.load_state_dict(under("background/", tensors))
        if state.proposal is not None:
            state.proposal.load_state_dict(under("proposal/", tensors))
        state.occupancy.load_state_dict(under("occupancy/", tensors))
        load_optimizer_tensors(state.optimizer, under("optimizer/", tensors))
        state.guidance.load_state_tensors(under("guidance/", tensors))
        state.history[:] = metrics.from_tensor(tensors["history"])
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise CheckpointError(
            f"the checkpoint does not fit this run ({str(error).splitlines()[0]}); expected one "
            "of the same code and recipe; remove its scratch directory to start over"
        ) from error
