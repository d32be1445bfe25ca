"""How a refined surface is represented."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from dreamfusion_kit.recipe.schema.base import LearningRate, Lighter, Positive, Section


class LatticeSection(Section):
    """Signed distances on a lattice; the surface may change its topology."""

    max_start_faces: ClassVar[int | None] = None  # all: the surface is read once

    @property
    def num_cell_weights(self) -> int:
        """Return how many numbers the cells have beside the points' distances."""
        return 0

    resolution: int = Field(
        ge=8, le=512, description="Lattice points per axis over the bounding ball (Magic3D: 256)."
    )
    num_levels: int = Field(
        ge=1,
        le=8,
        description="Grids whose sum changes the distances, each half as fine as the next; more "
        "move larger parts as one. 1 is the paper's single grid.",
    )
    learning_rate: LearningRate = Field(
        description="Step size of the coarsest grid, scene units (Magic3D does not say)."
    )
    level_decay: Positive = Field(
        le=1.0, description="Factor on the step size from one grid to the next finer one."
    )
    offset_learning_rate: float = Field(
        ge=0,
        le=10,
        description="Step size of the lattice points' offsets, in half cells; 0 keeps the lattice.",
    )

    @property
    def lattice_resolution(self) -> int:
        """Return the lattice points per axis."""
        return self.resolution

    @property
    def lighter(self) -> Lighter:
        """Return the keys that cost memory, each with a cheaper value to try."""
        return {"resolution": max(8, self.resolution // 2)}


class DmtetSection(LatticeSection):
    """Marching tetrahedra on a lattice (DMTet, arXiv 2111.04276)."""

    kind: Literal["dmtet"] = Field(description="Marching tetrahedra.")


class FlexicubesSection(LatticeSection):
    """Weighted dual marching cubes on a lattice (FlexiCubes, arXiv 2308.05371)."""

    kind: Literal["flexicubes"] = Field(description="Weighted dual marching cubes.")
    weight_learning_rate: float = Field(
        ge=0,
        le=10,
        description="Step size of the cells' weights alpha, beta and gamma, before their tanh; 0 "
        "keeps them at 1, which is plain dual marching cubes.",
    )
    deviation_lambda: float = Field(
        ge=0,
        le=1e6,
        description="Of how unevenly a vertex lies among the crossings of its cell, in cells "
        "(L_dev).",
    )
    WEIGHTS_PER_CELL: ClassVar[int] = 8 + 12 + 1  # alpha of corners, beta of edges, gamma

    @property
    def num_cell_weights(self) -> int:
        """Return how many weights are optimised."""
        if self.weight_learning_rate == 0:
            return 0
        return self.WEIGHTS_PER_CELL * (self.resolution - 1) ** 3


class VertexOffsetsSection(Section):
    """Offsets of the coarse mesh's own vertices; the topology stays."""

    kind: Literal["vertex_offsets"] = Field(description="The coarse surface, moved.")
    max_faces: int = Field(ge=4, le=10**7, description="Triangles of the moved surface, at most.")
    learning_rate: LearningRate = Field(description="Step size of the offsets, scene units.")
    smoothing_lambda: float = Field(
        ge=0,
        le=1e6,
        description="How far a step spreads over neighbouring vertices: lambda of "
        '"Large Steps in Inverse Rendering" (Nicolet et al. 2021: 10 to 100); 0 spreads none.',
    )
    lattice_resolution: ClassVar[int] = 0  # there is none
    num_cell_weights: ClassVar[int] = 0

    @property
    def max_start_faces(self) -> int:
        """Return how many triangles the coarse surface may keep."""
        return self.max_faces

    @property
    def lighter(self) -> Lighter:
        """Return the keys that cost memory, each with a cheaper value to try."""
        return {"max_faces": max(4, self.max_faces // 2)}


RepresentationSection = Annotated[
    DmtetSection | FlexicubesSection | VertexOffsetsSection, Field(discriminator="kind")
]
