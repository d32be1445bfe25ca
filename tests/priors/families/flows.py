"""The comparison that every family of flows passes: the prior's velocity is its pipeline's."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dreamfusion_kit.priors.base import Prior

PROMPT = 'Ein "Corgi" aus Glas, 柯基 🐕'
TIMESTEP = 600
TIME = (TIMESTEP + 0.5) / 1000  # the flow's t of this timestep


def velocity(prior: Prior, mixed: Tensor, prompt: str) -> Tensor:
    """Return epsilon - x as a flow has it, from the epsilon that the prior gives.

    x_t = (1 - t) x + t epsilon, so epsilon - x = (epsilon - x_t) / (1 - t).
    """
    length = (TIME**2 + (1 - TIME) ** 2) ** 0.5
    timestep = torch.full((len(mixed),), TIMESTEP)
    text = prior.encode_text([prompt] * len(mixed))
    epsilon = prior.predict(mixed / length, timestep, text)
    return (epsilon - mixed) / (1 - TIME)


def guided(prior: Prior, mixed: Tensor, scale: float) -> Tensor:
    """Return the velocity with guidance against the empty prompt."""
    empty = velocity(prior, mixed, "")
    return empty + scale * (velocity(prior, mixed, PROMPT) - empty)


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def images(side: int = 16) -> Tensor:
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(2))


def load(model_class: Any, directory: Path, folder: str) -> Any:
    return model_class.from_pretrained(directory / folder).eval()
