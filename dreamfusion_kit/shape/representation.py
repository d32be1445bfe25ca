"""The interface of whatever describes a surface that is optimised."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from dreamfusion_kit.field.base import ParameterGroup
from dreamfusion_kit.records import Surface


@dataclass(frozen=True)
class Regularized:
    """A surface and the weighted penalty of its representation on it, None if it has none."""

    surface: Surface
    penalty: Float[Tensor, ""] | None


class Representation(nn.Module, ABC):
    """A closed surface as a differentiable function of parameters."""

    @abstractmethod
    def surface(self) -> Surface:
        """Return the surface at the present parameters."""

    def regularized(self) -> Regularized:
        """Return the surface with a penalty that only its representation can compute."""
        return Regularized(self.surface(), None)

    @abstractmethod
    def parameter_groups(self) -> list[ParameterGroup]:
        """Return every parameter once, with the recipe's learning rates."""
