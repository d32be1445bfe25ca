"""The loop's interface to every guidance: rendered views in, a gradient on them out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.records import Cameras, GuidanceOutput

# From the name of a stream of randomness to its generator at the current step.
Draw = Callable[[str], torch.Generator]


@dataclass(frozen=True)
class Views:
    """A rendered batch as a guidance sees it; `images` in [0, 1], channels first."""

    images: Float[Tensor, "batch 3 h w"]
    opacity: Float[Tensor, "batch h w"]
    cameras: Cameras


class Guidance(ABC):
    """How a frozen model wants rendered views to change."""

    @abstractmethod
    def guide(self, views: Views, step: int, draw: Draw) -> GuidanceOutput:
        """Return the gradient on `views`, so that `images.backward(gradient)` is right.

        The views' own graph is not touched. A guidance with trainable parts of its own
        updates them here, after the gradient was computed.
        """

    @abstractmethod
    def state_tensors(self) -> dict[str, Tensor]:
        """Return the state that `guide` changes, for a checkpoint; empty for most."""

    @abstractmethod
    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state_tensors` gave; KeyError or ValueError if it does not fit."""
