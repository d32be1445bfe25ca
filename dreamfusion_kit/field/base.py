"""The interface of every field: density and albedo at positions, and what to optimise."""

from abc import ABC, abstractmethod
from typing import TypedDict

from jaxtyping import Float
from torch import Tensor, nn

from dreamfusion_kit.records import FieldSample


class ParameterGroup(TypedDict):
    """One group of parameters that share a learning rate, as torch.optim takes it."""

    name: str
    params: list[nn.Parameter]
    lr: float


class Field(nn.Module, ABC):
    """Density (per scene unit) and albedo over the ball of `bounding_radius` at the origin.

    Outside the ball the density is 0. Everything is differentiable with respect to the
    parameters, nothing with respect to positions. The batch may be empty.
    """

    bounding_radius: float

    @abstractmethod
    def forward(
        self,
        positions: Float[Tensor, "samples 3"],
        with_normals: bool,
        variances: Float[Tensor, "samples 3"] | None = None,
    ) -> FieldSample:
        """Return density, albedo and, `with_normals`, normals at world positions.

        With `variances`, scene units squared per axis, positions are the means of Gaussians;
        a grid reads only the means.
        """

    @abstractmethod
    def densities(self, positions: Float[Tensor, "samples 3"]) -> Float[Tensor, " samples"]:
        """Return the densities alone, cheaper than `forward` and equal to its densities."""

    def envelope(self, positions: Float[Tensor, "samples 3"]) -> Float[Tensor, " samples"]:
        """Return the densities or, for fields that take turns, the highest: what not to skip."""
        return self.densities(positions)

    @abstractmethod
    def parameter_groups(self) -> list[ParameterGroup]:
        """Return every parameter once, with the recipe's learning rates."""

    @abstractmethod
    def smoothness(self) -> Float[Tensor, ""]:
        """Return a differentiable roughness, >= 0; exactly 0 where it has no meaning."""

    @abstractmethod
    def set_step(self, step: int) -> None:
        """Set coarse-to-fine state for optimiser step `step`, a pure function of it."""
