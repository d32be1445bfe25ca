"""Several fields that take turns, for a guidance that follows their distribution.

ProlificDreamer (arXiv 2305.16213) moves n fields under one phi, which learns the renders of
all of them and so keeps them apart. Each step sees one field, chosen by the step alone: the
others get no gradient there, and their optimiser's moments do not move.
"""

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dreamfusion_kit.field.base import Field, ParameterGroup
from dreamfusion_kit.records import FieldSample


class Particles(Field):
    """Fields of one kind; queries go to the field of the current step."""

    def __init__(self, fields: list[Field]) -> None:
        """Keep the fields, and start at the first step."""
        super().__init__()
        self.bounding_radius = fields[0].bounding_radius
        self.fields = nn.ModuleList(fields)
        self.set_step(0)

    @property
    def particles(self) -> list[Field]:
        """Return all fields; the asset is the first."""
        return [cast(Field, field) for field in self.fields]

    def forward(
        self,
        positions: Float[Tensor, "samples 3"],
        with_normals: bool,
        variances: Float[Tensor, "samples 3"] | None = None,
    ) -> FieldSample:
        """Return the values of the step's field."""
        return self._current(positions, with_normals, variances)

    def densities(self, positions: Float[Tensor, "samples 3"]) -> Float[Tensor, " samples"]:
        """Return the densities of the step's field."""
        return self._current.densities(positions)

    def envelope(self, positions: Float[Tensor, "samples 3"]) -> Float[Tensor, " samples"]:
        """Return the highest density of any field: one occupancy grid serves all."""
        return torch.stack([field.envelope(positions) for field in self.particles]).amax(dim=0)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the groups of all fields, with the field's number in their names."""
        return [
            {"name": f"{index}/{group['name']}", "params": group["params"], "lr": group["lr"]}
            for index, field in enumerate(self.particles)
            for group in field.parameter_groups()
        ]

    def smoothness(self) -> Float[Tensor, ""]:
        """Return the roughness of the step's field."""
        return self._current.smoothness()

    def set_step(self, step: int) -> None:
        """Choose the field of optimiser step `step`; each cycle ends with the first field.

        So the pictures after each cycle's last step, and the last one, show the asset's field.
        """
        self._turn = (step + 1) % len(self.fields)
        for field in self.particles:
            field.set_step(step)

    @property
    def _current(self) -> Field:
        return self.particles[self._turn]
