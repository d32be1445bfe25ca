"""From a field to a textured mesh."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from dreamfusion_kit.recipe.schema.base import Fraction, NonNegative, Positive, Section


class AdaptiveThresholdSection(Section):
    """A density threshold found from the field's own densities."""

    kind: Literal["adaptive"] = Field(description="Between the empty and the solid level.")
    fraction: float = Field(
        ge=0.001, le=0.99, description="Way from the empty to the solid density level."
    )


class FixedThresholdSection(Section):
    """A density threshold set by hand."""

    kind: Literal["fixed"] = Field(description="The same density for every asset.")
    density: Positive = Field(description="Density of the surface, per scene unit.")


ThresholdSection = Annotated[
    AdaptiveThresholdSection | FixedThresholdSection, Field(discriminator="kind")
]


MeshFormat = Literal["glb", "obj", "ply", "stl", "usdz"]
REQUIRED_FORMATS: tuple[MeshFormat, ...] = ("glb", "obj")
"""What later stages read: the gallery shows the GLB, the evaluation measures the OBJ."""


def _each_once_with_those_required(formats: tuple[MeshFormat, ...]) -> tuple[MeshFormat, ...]:
    found = f"found [{', '.join(formats)}]"
    if len(set(formats)) < len(formats):
        raise ValueError(f"{found}, expected each format once")
    missing = [name for name in REQUIRED_FORMATS if name not in formats]
    if missing:
        raise ValueError(
            f"{found}, expected {' and '.join(missing)} too: gallery and evaluation read them"
        )
    return formats


class MeshSection(Section):
    """Surface extraction, cleaning and texture."""

    grid_resolution: int = Field(
        ge=8, le=1024, description="Density samples per axis for marching cubes."
    )
    threshold: ThresholdSection = Field(description="Which density is the surface.")
    min_component_fraction: Fraction = Field(
        description="Components below this share of the largest one's area are dropped."
    )
    max_faces: int = Field(ge=4, le=10**7, description="Triangles left after decimation, at most.")
    smoothing_iterations: int = Field(
        ge=0,
        le=1000,
        description="Rounds of smoothing before decimation; 0 leaves the surface as found.",
    )
    texture_size_px: int = Field(
        ge=16, le=8192, description="Side of the square albedo texture in pixels."
    )
    texture_depth: NonNegative = Field(
        description="How far below the surface the texture's albedo is gathered, as a camera right "
        "above sees it, scene units; 0 takes the surface's own."
    )
    formats: Annotated[tuple[MeshFormat, ...], AfterValidator(_each_once_with_those_required)] = (
        Field(
            description="Files to write: glb and obj always, ply, stl, and usdz, which needs the "
            "package usd-core."
        )
    )
