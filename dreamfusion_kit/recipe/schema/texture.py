"""How the colours of a refined surface are represented."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dreamfusion_kit.recipe.schema.base import Layers, LearningRate, Lighter, Section, Width
from dreamfusion_kit.recipe.schema.hash_table import hash_grid_parameters


class GridTextureSection(Section):
    """A grid of albedo around the surface, which starts with the coarse field's."""

    kind: Literal["grid"] = Field(description="A dense grid, trilinear between its points.")
    resolution: int = Field(ge=8, le=512, description="Grid points per axis.")
    learning_rate: LearningRate = Field(description="Step size of the raw albedo.")

    @property
    def num_parameters(self) -> int:
        """Return the numbers that are optimised."""
        return 3 * self.resolution**3

    @property
    def lattice_resolution(self) -> int:
        """Return the points per axis at which the coarse colours are asked for."""
        return self.resolution

    @property
    def lighter(self) -> Lighter:
        """Return the keys that cost memory, each with a cheaper value to try."""
        return {"resolution": max(8, self.resolution // 2)}


class HashGridTextureSection(Section):
    """A hash grid and a small MLP (Instant-NGP), finer than a dense grid can be."""

    kind: Literal["hash_grid"] = Field(description="Multiresolution hash grid and a small MLP.")
    start_resolution: int | None = Field(
        ge=8,
        le=512,
        description="Grid points per axis of the coarse field's colours, which stay beneath and "
        "which the hash grid changes; null begins with grey (ProlificDreamer).",
    )
    num_levels: int = Field(ge=1, le=32, description="Resolution levels (ProlificDreamer: 16).")
    features_per_level: int = Field(
        ge=1, le=64, description="Features per level (ProlificDreamer: 2)."
    )
    log2_table_size: int = Field(
        ge=4, le=24, description="log2 of the entries of a level's table (ProlificDreamer: 19)."
    )
    min_resolution: int = Field(
        ge=2, le=2**20, description="Cells per axis of the coarsest level (ProlificDreamer: 16)."
    )
    max_resolution: int = Field(
        ge=2, le=2**20, description="Cells per axis of the finest level (ProlificDreamer: 4096)."
    )
    hidden_width: Width = Field(description="Units of each hidden layer (ProlificDreamer: 64).")
    num_hidden_layers: Layers = Field(
        description="Hidden layers of the MLP; 0 is one linear layer (ProlificDreamer: 1)."
    )
    backend: Literal["torch", "tinycudann"] = Field(
        description="Who computes the encoding: the kit, on CUDA by Triton's kernels (torch), or "
        "tinycudann, which needs CUDA and the package."
    )
    encoding_learning_rate: LearningRate = Field(
        description="Adam's step size for the hash tables (ProlificDreamer: 0.01)."
    )
    network_learning_rate: LearningRate = Field(
        description="Adam's step size for the MLP (ProlificDreamer: 0.001)."
    )

    @model_validator(mode="after")
    def _resolutions_are_ordered(self) -> Self:
        if self.min_resolution > self.max_resolution:
            raise ValueError(
                f"found min_resolution {self.min_resolution} and max_resolution "
                f"{self.max_resolution}, expected min_resolution at or below max_resolution"
            )
        return self

    @property
    def num_parameters(self) -> int:
        """Return the numbers that are optimised, approximately."""
        return hash_grid_parameters(self)

    @property
    def lattice_resolution(self) -> int:
        """Return the points per axis at which the coarse colours are asked for; 0 for none."""
        return self.start_resolution or 0

    @property
    def lighter(self) -> Lighter:
        """Return the keys that cost memory, each with a cheaper value to try."""
        return {
            "num_levels": max(1, self.num_levels // 2),
            "log2_table_size": max(4, self.log2_table_size - 1),
            "hidden_width": max(1, self.hidden_width // 2),
        }


TextureSection = Annotated[GridTextureSection | HashGridTextureSection, Field(discriminator="kind")]
