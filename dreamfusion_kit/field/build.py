"""From a recipe's field section to the field."""

from typing import assert_never

import torch

from dreamfusion_kit.field.base import Field
from dreamfusion_kit.field.hash_grid import HashGrid
from dreamfusion_kit.field.mip_mlp import MipMlp
from dreamfusion_kit.field.particles import Particles
from dreamfusion_kit.field.proposal_mlp import ProposalMlp
from dreamfusion_kit.field.voxel_grid import VoxelGrid
from dreamfusion_kit.recipe.schema import (
    FieldOrParticlesSection,
    HashGridSection,
    MipMlpSection,
    ParticlesSection,
    RendererSection,
    VoxelGridSection,
)


def build_field(section: FieldOrParticlesSection, *, generator: torch.Generator) -> Field:
    """Return a fresh field on the generator's device."""
    match section:
        case VoxelGridSection():
            return VoxelGrid(section, generator=generator)
        case HashGridSection():
            return HashGrid(section, generator=generator)
        case MipMlpSection():
            return MipMlp(section, generator=generator)
        case ParticlesSection(count=count, particle=particle):
            return Particles([build_field(particle, generator=generator) for _ in range(count)])
        case _:
            assert_never(section)


def build_proposal(
    section: RendererSection, field: FieldOrParticlesSection, *, generator: torch.Generator
) -> ProposalMlp | None:
    """Return a fresh proposal network for the field's samples, where the renderer has one."""
    if section.beyond is None or section.beyond.proposal is None:
        return None
    assert isinstance(field, MipMlpSection)  # the recipe's own check: proposals are cones
    return ProposalMlp(section.beyond.proposal, field, generator=generator)
