"""A surface and its texture, built and optimised together."""

from typing import assert_never

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dreamfusion_kit.field.base import ParameterGroup
from dreamfusion_kit.recipe.schema import (
    DmtetSection,
    FlexicubesSection,
    RefineSection,
    RepresentationSection,
    VertexOffsetsSection,
)
from dreamfusion_kit.records import Cameras, Lighting, RenderOutput, Surface
from dreamfusion_kit.renderer.mesh.render import render_mesh
from dreamfusion_kit.shape.dmtet import Dmtet
from dreamfusion_kit.shape.flexicubes import Flexicubes
from dreamfusion_kit.shape.representation import Regularized, Representation
from dreamfusion_kit.shape.start import Start
from dreamfusion_kit.shape.texture import Texture
from dreamfusion_kit.shape.vertex_offsets import VertexOffsets


class SurfaceModel(nn.Module):
    """What the second stage of a recipe optimises."""

    representation: Representation
    texture: Texture

    def __init__(self, section: RefineSection, start: Start) -> None:
        """Build both parts from the coarse surface; nothing is drawn at random."""
        super().__init__()
        self.section = section
        self.representation = _representation(section.representation, start)
        self.texture = Texture(section.texture, start)

    def surface(self) -> Surface:
        """Return the surface at the present parameters."""
        return self.representation.surface()

    def regularized(self) -> Regularized:
        """Return that surface and its representation's own penalty."""
        return self.representation.regularized()

    def render(
        self,
        surface: Surface,
        cameras: Cameras,
        lighting: Lighting,
        background: Float[Tensor, "batch h w 3"],
    ) -> RenderOutput:
        """Draw `surface`, one of this model's, with the texture."""
        return render_mesh(
            surface,
            lambda points: self.texture(points.positions),
            cameras,
            lighting,
            background,
            supersampling=self.section.supersampling,
        )

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return every parameter once: the representation's, then the texture's."""
        return self.representation.parameter_groups() + self.texture.parameter_groups()

    @property
    def device(self) -> torch.device:
        """Return where the model is and computes."""
        return self.texture.albedo.device


def _representation(section: RepresentationSection, start: Start) -> Representation:
    match section:
        case DmtetSection():
            return Dmtet(section, start)
        case FlexicubesSection():
            return Flexicubes(section, start)
        case VertexOffsetsSection():
            return VertexOffsets(section, start)
        case _:
            assert_never(section)
