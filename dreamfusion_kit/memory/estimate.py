"""How much memory a recipe's optimisation needs, moment by moment.

Memory peaks at one of these moments. Each holds the weights, the field with its optimiser's
state, and in addition:

    the denoiser predicts     the render's graph, the encoder's graph, one forward of all texts
    the encoder works         the render's graph, the encoder's forward and backward
    phi learns                the render's graph, phi's forward and backward (VSD only)
    the field learns          the render's forward and backward
    occupancy is updated      the field's densities in all cells of the grid
    a preview is drawn        the forward of its two views

The estimate is the largest sum. Text encoders are freed before the optimisation starts.
"""

from dataclasses import dataclass

from dreamfusion_kit.memory.architectures import Components
from dreamfusion_kit.memory.device import Device
from dreamfusion_kit.memory.field import FieldMemory, field_memory, rough_bytes
from dreamfusion_kit.memory.prior import PriorMemory, prior_memory
from dreamfusion_kit.recipe.schema import Recipe

# The moments that are not part of every step.
PREVIEW = "a preview is drawn"
UPDATE = "occupancy is updated"

# Bytes that numpy holds per lattice point of the mesh's density grid, as measured
# (tests/memory/test_estimate.py), and per texel of its texture, as added up: some 25 float64.
_PER_LATTICE_POINT = 30
_PER_TEXEL = 200


@dataclass(frozen=True)
class Moment:
    """What is in memory at one moment: bytes by name."""

    name: str
    parts: dict[str, int]

    @property
    def total(self) -> int:
        """Return the sum of the parts."""
        return sum(self.parts.values())


def moments(recipe: Recipe, parts: Components, device: Device) -> list[Moment]:
    """Return the moments of the recipe's optimisation."""
    return combine(recipe, memory_of_prior(recipe, parts), field_memory(recipe), device)


def memory_of_prior(recipe: Recipe, parts: Components) -> PriorMemory:
    """Return the memory of the recipe's prior."""
    return prior_memory(
        recipe.prior,
        recipe.guidance,
        parts,
        batch_size=recipe.optimize.batch_size,
        render_size_px=recipe.camera.largest_image_size_px,
    )


def combine(recipe: Recipe, prior: PriorMemory, field: FieldMemory, device: Device) -> list[Moment]:
    """Return the moments, from the memory of prior and field."""
    always = {
        "python and its libraries": device.libraries_bytes,
        "encoder, weights": prior.encoder,
        "phi, its gradient and moments": prior.phi,
        "field": field.parameters,
        "optimiser's state": field.optimizer,
        "occupancy grid": field.occupancy,
    }
    denoiser = {"denoiser, weights": _weights(recipe, prior, device)}
    is_moved_out = device.is_gpu and recipe.prior.cpu_offload
    at_rest = always if is_moved_out else denoiser | always
    gradient = {"field's gradient": field.gradient}
    waiting = gradient | {"render, kept": field.rendered}
    predicting = {"encoder, kept": prior.encoded, "denoiser, one forward": prior.predicting}
    learning = gradient | {"render and its backward": field.learning - field.gradient}
    found: list[Moment] = []
    if prior.denoiser > 0:
        found.append(Moment("the denoiser predicts", denoiser | always | waiting | predicting))
    if prior.encoder > 0:
        encoding = {"encoder, forward and backward": prior.encoding}
        found.append(Moment("the encoder works", at_rest | waiting | encoding))
    if prior.phi > 0:
        phi = {"phi, forward and backward": prior.learning}
        found.append(Moment("phi learns", denoiser | always | waiting | phi))
    return [
        *found,
        Moment("the field learns", at_rest | learning),
        Moment(UPDATE, at_rest | gradient | {"all cells": field.updating}),
        Moment(PREVIEW, at_rest | gradient | {"two views": field.previewing}),
    ]


def rough_moment(recipe: Recipe, prior: PriorMemory, device: Device) -> Moment:
    """Return roughly the highest moment, counting the field from the schema alone."""
    return Moment(
        "it takes a step",
        {
            "python and its libraries": device.libraries_bytes,
            "prior": _weights(recipe, prior, device) + prior.encoder + prior.phi,
            "prior at work": max(prior.predicting + prior.encoded, prior.encoding, prior.learning),
            "field and its renders": rough_bytes(recipe),
        },
    )


def _weights(recipe: Recipe, prior: PriorMemory, device: Device) -> int:
    """Return what of the denoiser is on the device while it predicts."""
    in_blocks = device.is_gpu and recipe.prior.cpu_offload == "group"
    return prior.moved if in_blocks else prior.denoiser


def mesh_bytes(recipe: Recipe) -> int:
    """Return roughly the main memory that the mesh stage takes for its lattice or its texture."""
    lattice = _PER_LATTICE_POINT * recipe.mesh.grid_resolution**3
    return max(lattice, _PER_TEXEL * recipe.mesh.texture_size_px**2)
