"""Dense grids of raw density and raw albedo with trilinear interpolation.

Vertices lie on the cube [-R, R]^3 around the bounding ball, the outermost on its faces;
grids are indexed [x, y, z]. Normals do not cost extra lookups: central differences of
the whole grid are taken once per call and interpolated beside the other channels.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from dreamfusion_kit.field.base import Field, ParameterGroup
from dreamfusion_kit.field.density_bias import density_from_raw, shape_from_raw
from dreamfusion_kit.field.lookup import corner_weights, weighted_rows
from dreamfusion_kit.field.normals import normals_from_gradient
from dreamfusion_kit.recipe.schema import VoxelGridSection
from dreamfusion_kit.records import FieldSample

# Standard deviation of the raw values at the start: enough to break symmetry, too little
# to be seen beside the initial blob.
_INITIAL_STD = 1e-2


class VoxelGrid(Field):
    """A grid of `resolution`^3 vertices, each with one raw density and three raw albedos."""

    squared_radius: Tensor

    def __init__(self, section: VoxelGridSection, *, generator: torch.Generator) -> None:
        """Draw the raw values; the initial blob is added to them, not stored."""
        super().__init__()
        self.section = section
        self.bounding_radius = section.bounding_radius
        self._cell_size = 2 * section.bounding_radius / (section.resolution - 1)
        shape = (section.resolution,) * 3
        device = generator.device
        noise = torch.randn(*shape, 4, generator=generator, device=device) * _INITIAL_STD
        self.density = nn.Parameter(noise[..., 0].clone())
        self.albedo = nn.Parameter(
            noise[..., 1:] + torch.logit(noise.new_tensor(section.initial_albedo))
        )
        axis = torch.linspace(
            -self.bounding_radius, self.bounding_radius, section.resolution, device=device
        ).square()
        squared_radius = axis[:, None, None] + axis[:, None] + axis
        self.register_buffer("squared_radius", squared_radius, persistent=False)

    def forward(
        self,
        positions: Float[Tensor, "samples 3"],
        with_normals: bool,
        variances: Float[Tensor, "samples 3"] | None = None,
    ) -> FieldSample:
        """Return density, albedo and, `with_normals`, normals at world positions."""
        channels = [self.density[..., None], self.albedo]
        if with_normals:
            channels += self._shape_gradient()
        table = torch.cat(channels, dim=-1).flatten(end_dim=2)
        values = weighted_rows(table, *self._corners(positions))
        sizes = [1, 3, 3 if with_normals else 0]
        raw, albedo, gradient = torch.split(values, sizes, dim=-1)
        return FieldSample(
            densities=self._density(raw[:, 0], positions),
            albedo=albedo.sigmoid(),
            normals=normals_from_gradient(gradient) if with_normals else None,
        )

    def densities(self, positions: Float[Tensor, "samples 3"]) -> Float[Tensor, " samples"]:
        """Return the densities alone."""
        raw = weighted_rows(self.density.reshape(-1, 1), *self._corners(positions))
        return self._density(raw[:, 0], positions)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the two grids, each with its learning rate."""
        density_rate = self.section.density_learning_rate
        albedo_rate = self.section.albedo_learning_rate
        return [
            {"name": "density", "params": [self.density], "lr": density_rate},
            {"name": "albedo", "params": [self.albedo], "lr": albedo_rate},
        ]

    def smoothness(self) -> Float[Tensor, ""]:
        """Return the mean squared difference of neighbouring vertices, density plus albedo.

        Raw values, without the initial blob: a grid of constants has roughness 0.
        """
        return _Roughness.apply(self.density) + _Roughness.apply(self.albedo)

    def set_step(self, step: int) -> None:
        """Do nothing: the grid has one resolution from the start."""

    def _density(
        self, raw: Float[Tensor, " samples"], positions: Float[Tensor, "samples 3"]
    ) -> Float[Tensor, " samples"]:
        return density_from_raw(self.section, raw, positions.square().sum(dim=-1))

    def _corners(
        self, positions: Float[Tensor, "samples 3"]
    ) -> tuple[Int[Tensor, "samples 8"], Float[Tensor, "samples 8"]]:
        """Return the flat indices of the cell around each position, and their weights.

        Positions beyond the cube, where densities are 0 anyway, read its nearest point.
        """
        resolution = self.section.resolution
        scaled = (positions + self.bounding_radius) / self._cell_size
        scaled = scaled.clamp(0, resolution - 1)
        lower = scaled.floor().clamp_max(resolution - 2)
        x, y, z = lower.long().unbind(dim=-1)
        offsets = [
            (i * resolution + j) * resolution + k for i in (0, 1) for j in (0, 1) for k in (0, 1)
        ]
        first = (x * resolution + y) * resolution + z
        indices = first[:, None] + torch.tensor(offsets, device=positions.device)
        return indices, corner_weights(scaled - lower)

    def _shape_gradient(self) -> list[Float[Tensor, "x y z 1"]]:
        """Return the gradient's three parts per scene unit at the vertices, by central differences.

        They are not stacked: each copy into a table of few channels is slow.
        """
        shape = shape_from_raw(self.section, self.density, self.squared_radius)
        slopes = [_central_difference(shape, dim) for dim in range(3)]
        return [(slope / (2 * self._cell_size))[..., None] for slope in slopes]


def _central_difference(grid: Float[Tensor, "x y z"], dim: int) -> Float[Tensor, "x y z"]:
    """Return `next - previous` along `dim`; at the two faces twice the one-sided difference."""
    upper, lower = _neighbors(grid, dim)
    steps = upper - lower
    first, last = steps.narrow(dim, 0, 1), steps.narrow(dim, steps.shape[dim] - 1, 1)
    return torch.cat([first, steps], dim=dim) + torch.cat([steps, last], dim=dim)


class _Roughness(torch.autograd.Function):
    """The mean squared difference of neighbours, summed over the three dimensions.

    Autograd would fill a whole grid with zeros for the gradient of each side of each
    difference, and add up the six.
    """

    @staticmethod
    def forward(ctx: Any, grid: Tensor) -> Tensor:  # Any: torch names no type for the context.
        ctx.save_for_backward(grid)
        total = grid.new_zeros(())
        for dim in range(3):
            upper, lower = _neighbors(grid, dim)
            total = total + (upper - lower).square().mean()
        return total

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor
    ) -> Tensor:
        (grid,), (gradient,) = ctx.saved_tensors, gradients
        total = torch.zeros_like(grid)
        for dim in (2, 1, 0):  # autograd's order, and so its bytes
            upper, lower = _neighbors(grid, dim)
            pull = (gradient / lower.numel()) * (2 * (upper - lower))
            total_upper, total_lower = _neighbors(total, dim)
            total_lower -= pull
            total_upper += pull
        return total


def _neighbors(grid: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Return views of all vertices with a predecessor along `dim`, and of those predecessors."""
    size = grid.shape[dim]
    return grid.narrow(dim, 1, size - 1), grid.narrow(dim, 0, size - 1)
