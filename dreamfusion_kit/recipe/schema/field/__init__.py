"""Fields: what maps positions to density and albedo.

Each field class states these facts, for code that combines fields or estimates their memory:

    reads_cones         whether it is queried with Gaussians, or only with their means
    takes_turns         whether each step updates only some of its parameters
    num_parameters      the numbers that are optimised
    numbers_per_sample  approximate count of numbers a step keeps per sample, normals included
    scaled              a smaller field of the same kind, to estimate the memory of a large one
    lighter             the keys that cost memory, each with a cheaper value to try
"""

from typing import Annotated

from pydantic import Field

from dreamfusion_kit.recipe.schema.field.density_bias import (
    ConeBiasSection,
    DensityBiasSection,
    GaussianBiasSection,
)
from dreamfusion_kit.recipe.schema.field.hash_grid import HashGridSection
from dreamfusion_kit.recipe.schema.field.mip_mlp import MipMlpSection
from dreamfusion_kit.recipe.schema.field.particles import FieldSection, ParticlesSection
from dreamfusion_kit.recipe.schema.field.voxel_grid import VoxelGridSection

FieldOrParticlesSection = Annotated[
    VoxelGridSection | HashGridSection | MipMlpSection | ParticlesSection,
    Field(discriminator="kind"),
]

__all__ = [
    "ConeBiasSection",
    "DensityBiasSection",
    "FieldOrParticlesSection",
    "FieldSection",
    "GaussianBiasSection",
    "HashGridSection",
    "MipMlpSection",
    "ParticlesSection",
    "VoxelGridSection",
]
