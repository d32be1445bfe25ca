"""The optimiser, its learning rates as a function of the step, and gradient clipping."""

import math
from collections.abc import Iterable
from typing import assert_never

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from dreamfusion_kit.field.base import ParameterGroup
from dreamfusion_kit.recipe.schema import (
    AdamSection,
    DistributedShampooSection,
    LearningRateDecaySection,
    OptimizeSection,
    RefineOptimizeSection,
)


def build_optimizer(
    section: OptimizeSection | RefineOptimizeSection, groups: list[ParameterGroup]
) -> torch.optim.Optimizer:
    """Return the recipe's optimiser over a field's parameter groups.

    Each group keeps its full learning rate as `base_lr`; `set_learning_rates` derives
    the rate of a step from it. Adam's fused kernel updates each number on its own, so its
    result does not depend on how the work is split.
    """
    rated = [{**group, "base_lr": group["lr"]} for group in groups]
    match section.optimizer:
        case AdamSection(betas=betas, epsilon=epsilon):
            return torch.optim.Adam(rated, betas=betas, eps=epsilon, fused=True)
        case DistributedShampooSection():
            # Imported here: the library loads all of its many optimisers, which takes seconds.
            from dreamfusion_kit.optimize.shampoo import Shampoo

            return Shampoo(rated, section.optimizer)
        case _:
            assert_never(section.optimizer)


def learning_rate_factor(section: LearningRateDecaySection, step: int, num_steps: int) -> float:
    """Return the factor on every learning rate at `step`.

    A linear rise from `initial_fraction` to 1 over `warmup_steps`, then either constant
    or half a cosine down to `final_fraction` at `num_steps` (DreamFusion, A.2).
    """
    if step < section.warmup_steps:
        risen = step / section.warmup_steps
        return section.initial_fraction + (1 - section.initial_fraction) * risen
    match section.kind:
        case "none":
            return 1.0
        case "cosine":
            done = (step - section.warmup_steps) / (num_steps - section.warmup_steps)
            falling = 0.5 * (1 + math.cos(math.pi * done))
            return section.final_fraction + (1 - section.final_fraction) * falling
        case _:
            assert_never(section.kind)


def set_learning_rates(
    optimizer: torch.optim.Optimizer, section: OptimizeSection | RefineOptimizeSection, step: int
) -> None:
    """Set each group's rate for `step`; a pure function of the step, so resuming is exact."""
    factor = learning_rate_factor(section.learning_rate_decay, step, section.num_steps)
    for group in optimizer.param_groups:
        group["lr"] = factor * group["base_lr"]


def clip_gradients(parameters: Iterable[Parameter], max_norm: float | None) -> Tensor:
    """Scale all gradients down together if their norm exceeds `max_norm`.

    Returns the norm before clipping; it is not finite if any gradient is not.
    """
    with_gradient = [parameter for parameter in parameters if parameter.grad is not None]
    norm = get_total_norm([p.grad for p in with_gradient if p.grad is not None])
    if max_norm is not None:
        clip_grads_with_norm_(with_gradient, max_norm, norm)
    return norm
