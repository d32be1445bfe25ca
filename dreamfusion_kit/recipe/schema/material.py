"""How a refined surface reflects beside its colour: glTF's roughness and metallic."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from dreamfusion_kit.recipe.schema.base import Fraction, LearningRate, Lighter, Section


class FixedValueSection(Section):
    """One number for the whole surface, which stays."""

    kind: Literal["fixed"] = Field(description="Set by hand.")
    value: Fraction = Field(description="The value everywhere.")
    num_parameters: ClassVar[int] = 0
    lighter: ClassVar[Lighter] = {}


class LearnedValueSection(Section):
    """One number for the whole surface, which is learned."""

    kind: Literal["number"] = Field(description="Learned, the same everywhere.")
    start: Fraction = Field(description="The value before the first step.")
    learning_rate: LearningRate = Field(description="Step size of the raw value.")
    num_parameters: ClassVar[int] = 1
    lighter: ClassVar[Lighter] = {}


class GridValueSection(Section):
    """A value that varies over the surface, and is learned."""

    kind: Literal["grid"] = Field(description="Learned at the points of a dense grid.")
    start: Fraction = Field(description="The value before the first step.")
    resolution: int = Field(ge=8, le=512, description="Grid points per axis.")
    learning_rate: LearningRate = Field(description="Step size of the raw values.")

    @property
    def num_parameters(self) -> int:
        """Return the numbers that are optimised."""
        return self.resolution**3

    @property
    def lighter(self) -> Lighter:
        """Return the keys that cost memory, each with a cheaper value to try."""
        return {"resolution": max(8, self.resolution // 2)}


MaterialValueSection = Annotated[
    FixedValueSection | LearnedValueSection | GridValueSection, Field(discriminator="kind")
]


class MaterialSection(Section):
    """Roughness and metallic of glTF 2.0's metallic-roughness material (appendix B)."""

    roughness: MaterialValueSection = Field(
        description="0 is a mirror, 1 has no highlight; its square is GGX's alpha."
    )
    metallic: MaterialValueSection = Field(
        description="0 is plastic, wood or cloth, 1 is metal, whose colour is its reflection's."
    )

    @property
    def num_parameters(self) -> int:
        """Return the numbers that are optimised."""
        return self.roughness.num_parameters + self.metallic.num_parameters

    @property
    def lighter(self) -> Lighter:
        """Return the keys that cost memory, each with a cheaper value to try."""
        parts = {"roughness": self.roughness, "metallic": self.metallic}
        return {
            f"{name}.{key}": value
            for name, part in parts.items()
            for key, value in part.lighter.items()
        }
