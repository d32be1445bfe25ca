"""Offsets of the vertices of the coarse mesh."""

from functools import cached_property

import torch
from torch import Tensor

from dreamfusion_kit.field.base import ParameterGroup
from dreamfusion_kit.recipe.schema import VertexOffsetsSection
from dreamfusion_kit.records import Surface
from dreamfusion_kit.shape.representation import Representation
from dreamfusion_kit.shape.smooth_steps import SmoothSteps
from dreamfusion_kit.shape.start import Start


class VertexOffsets(Representation):
    """The start's vertices and faces; every vertex has an offset, smoothed over its neighbours."""

    vertices: Tensor
    faces: Tensor

    def __init__(self, section: VertexOffsetsSection, start: Start) -> None:
        """Start with no offset."""
        super().__init__()
        self.section = section
        self.register_buffer("vertices", start.surface.vertices)
        self.register_buffer("faces", start.surface.faces)
        self.offsets = torch.nn.Parameter(torch.zeros_like(start.surface.vertices))

    def surface(self) -> Surface:
        """Return the moved surface."""
        moved = self.offsets if self.section.smoothing_lambda == 0 else self._smooth(self.offsets)
        return Surface(self.vertices + moved, self.faces)

    @cached_property
    def _smooth(self) -> SmoothSteps:
        """Return the factored matrix, when it is first needed."""
        return SmoothSteps(self.faces, len(self.vertices), self.section.smoothing_lambda)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the offsets."""
        rate = self.section.learning_rate
        return [{"name": "offsets", "params": [self.offsets], "lr": rate}]
