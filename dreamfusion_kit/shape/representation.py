"""The interface of whatever describes a surface that is optimised."""

from abc import ABC, abstractmethod

from torch import nn

from dreamfusion_kit.field.base import ParameterGroup
from dreamfusion_kit.records import Surface


class Representation(nn.Module, ABC):
    """A closed surface as a differentiable function of parameters."""

    @abstractmethod
    def surface(self) -> Surface:
        """Return the surface at the present parameters."""

    @abstractmethod
    def parameter_groups(self) -> list[ParameterGroup]:
        """Return every parameter once, with the recipe's learning rates."""
