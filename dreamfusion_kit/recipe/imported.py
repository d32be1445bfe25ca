"""What an asset.yaml says about a mesh that comes from a file.

Files lie in the folder `source` beside asset.yaml, tracked by DVC and pinned here by their hashes.
"""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from dreamfusion_kit.recipe.evaluation import SHA256
from dreamfusion_kit.recipe.schema import (
    ConstantBackgroundSection,
    RandomBackgroundSection,
    Recipe,
    RefineSection,
    Section,
)
from dreamfusion_kit.recipe.schema.base import Positive

SUFFIXES = ("glb", "gltf", "obj", "ply", "stl")
Axis = Literal["x", "y", "z", "-x", "-y", "-z"]
Uvs = Literal["unwrap", "keep", "box", "cells"]

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_. +()-]{0,119}")


def is_inside(path: str) -> bool:
    """Return whether a relative path stays in its folder and has plain characters alone."""
    parts = path.split("/")
    return len(parts) <= 8 and all(_PART.fullmatch(part) for part in parts)


def _inside(path: str) -> str:
    if not is_inside(path):
        raise ValueError("expected a relative path of letters, digits, spaces and _.+()-")
    return path


def _of_known_suffix(path: str) -> str:
    if path.rpartition(".")[2].lower() not in SUFFIXES:
        raise ValueError(f"found {path!r}, expected a file of {', '.join(SUFFIXES)}")
    return path


SourcePath = Annotated[str, Field(max_length=1000), AfterValidator(_inside)]


BALL_RADIUS = 0.85  # of imported meshes: as the toybox's objects, so that pictures leave a margin


def why_not_refined(recipe: Recipe) -> str | None:
    """Return why an imported mesh cannot be refined by a recipe; None if it can."""
    if not isinstance(recipe.background, ConstantBackgroundSection | RandomBackgroundSection):
        return (
            f"found background.kind {recipe.background.kind} for an imported mesh, for which "
            "nothing has learned it, expected constant or random"
        )
    if recipe.bounding_radius <= BALL_RADIUS:
        return (
            f"found field.bounding_radius {recipe.bounding_radius:g}, expected above "
            f"{BALL_RADIUS}, the ball of imported meshes"
        )
    return None


def why_not_open(section: RefineSection) -> str | None:
    """Return why a refinement cannot start from an open mesh; None if it can."""
    shape = section.representation
    if not shape.lattice_resolution:
        return None
    return (
        f"found an open mesh with refine.representation.kind {shape.kind}, which starts from "
        "signed distances, expected a closed one; close it in a modelling program, or set the "
        "kind to vertex_offsets"
    )


class ImportSection(Section):
    """Where an imported mesh comes from, and how its file is read."""

    file: Annotated[SourcePath, AfterValidator(_of_known_suffix)] = Field(
        description="The model in source/: GLB, glTF, OBJ, PLY or STL."
    )
    files: dict[SourcePath, Annotated[str, Field(pattern=SHA256)]] = Field(
        description="SHA-256 of every file in source/: the model and what it refers to."
    )
    up: Axis = Field(description="The file's axis that points up.")
    front: Axis = Field(description="The file's axis that the object's front looks along.")
    meters_per_unit: Positive = Field(description="Length of the file's unit.")
    uvs: Uvs = Field(
        description="unwrap: a new atlas; keep: the file's own UVs, which one texture of at most "
        "8192 pixels has to cover; box: projections onto the sides of a box, for meshes that "
        "cannot be unwrapped; cells: a square of texels per pair of triangles."
    )

    @model_validator(mode="after")
    def _axes_differ(self) -> Self:
        if self.up[-1] == self.front[-1]:
            raise ValueError(f"found up {self.up} and front {self.front}, expected two axes")
        return self

    @model_validator(mode="after")
    def _model_is_among_the_files(self) -> Self:
        if self.file not in self.files:
            raise ValueError(f"found file {self.file}, expected it among files too")
        return self
