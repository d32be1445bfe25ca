"""One field, or several of one kind under one guidance."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from dreamfusion_kit.recipe.schema.base import Lighter, Section
from dreamfusion_kit.recipe.schema.field.hash_grid import HashGridSection
from dreamfusion_kit.recipe.schema.field.mip_mlp import MipMlpSection
from dreamfusion_kit.recipe.schema.field.voxel_grid import VoxelGridSection

FieldSection = Annotated[
    VoxelGridSection | HashGridSection | MipMlpSection, Field(discriminator="kind")
]


class ParticlesSection(Section):
    """Several fields of one kind under one guidance: ProlificDreamer's particles."""

    kind: Literal["particles"] = Field(description="Several fields, one of them per step.")
    count: int = Field(
        ge=2,
        le=64,
        description="Fields; each step moves one, by turns, and the mesh is made of the first "
        "(ProlificDreamer: 1 to 4 in 3D).",
    )
    particle: FieldSection = Field(description="Each field; they differ in their initial values.")
    reads_cones: ClassVar[bool] = False
    takes_turns: ClassVar[bool] = True

    @property
    def num_parameters(self) -> int:
        """Return those of all fields."""
        return self.count * self.particle.num_parameters

    @property
    def numbers_per_sample(self) -> int:
        """Return those of the step's field."""
        return self.particle.numbers_per_sample

    @property
    def lighter(self) -> Lighter:
        """Return keys that cost memory, with a cheaper value."""
        inside: Lighter = {f"particle.{key}": value for key, value in self.particle.lighter.items()}
        return {"count": max(2, self.count // 2), **inside}

    def scaled(self, share: float) -> "ParticlesSection":
        """Return as many fields, each of about that share of the parameters."""
        return self.model_copy(update={"particle": self.particle.scaled(share)})
