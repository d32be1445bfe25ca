"""A surface and its texture, built and optimised together."""

from collections.abc import Set
from typing import assert_never

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dreamfusion_kit import seeding
from dreamfusion_kit.field.base import ParameterGroup
from dreamfusion_kit.recipe.schema import (
    DmtetSection,
    FlexicubesSection,
    Part,
    RefineSection,
    RepresentationSection,
    VertexOffsetsSection,
)
from dreamfusion_kit.records import Cameras, Lighting, RenderOutput, Surface
from dreamfusion_kit.renderer.mesh.points import SurfacePoints
from dreamfusion_kit.renderer.mesh.render import render_mesh
from dreamfusion_kit.shape.dmtet import Dmtet
from dreamfusion_kit.shape.flexicubes import Flexicubes
from dreamfusion_kit.shape.material import Material
from dreamfusion_kit.shape.representation import Regularized, Representation
from dreamfusion_kit.shape.start import Start
from dreamfusion_kit.shape.texture import Texture, build_texture
from dreamfusion_kit.shape.vertex_offsets import VertexOffsets


class SurfaceModel(nn.Module):
    """What the second stage of a recipe optimises."""

    representation: Representation
    texture: Texture
    material: Material | None

    def __init__(self, section: RefineSection, start: Start, *, seed: int) -> None:
        """Build both parts from the coarse surface; `seed` is for what a texture draws at first."""
        super().__init__()
        self.section = section
        self.representation = build_representation(section.representation, start)
        generator = seeding.generator(seed, "refine-texture-initial")
        self.texture = build_texture(section.texture, start, generator=generator)
        self.material = (
            None if section.material is None else Material(section.material, start.bounding_radius)
        )

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
        *,
        supersampling: int,
    ) -> RenderOutput:
        """Draw `surface`, one of this model's, with the texture."""
        return render_mesh(
            surface,
            lambda points: self.texture(points.positions),
            cameras,
            lighting,
            background,
            supersampling=supersampling,
            material=None if self.material is None else self._material_at,
        )

    def _material_at(self, points: SurfacePoints) -> Float[Tensor, "points 2"]:
        assert self.material is not None
        return self.material(points.positions)

    def parameter_groups(self, parts: Set[Part]) -> list[ParameterGroup]:
        """Return the parts' parameters, each once: geometry's, texture's, material's."""
        geometry = self.representation.parameter_groups() if "geometry" in parts else []
        if "texture" not in parts:
            return geometry
        material = [] if self.material is None else self.material.parameter_groups()
        return geometry + self.texture.parameter_groups() + material

    @property
    def device(self) -> torch.device:
        """Return where the model is and computes."""
        return next(self.parameters()).device


def build_representation(section: RepresentationSection, start: Start) -> Representation:
    """Return the recipe's description of a surface, at its start."""
    match section:
        case DmtetSection():
            return Dmtet(section, start)
        case FlexicubesSection():
            return Flexicubes(section, start)
        case VertexOffsetsSection():
            return VertexOffsets(section, start)
        case _:
            assert_never(section)
