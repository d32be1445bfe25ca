"""How much memory a recipe's optimisation needs, moment by moment.

Memory peaks at one of these moments. Each holds the weights, the field with its optimiser's
state, and in addition:

    the denoiser predicts     the render's graph, the encoder's graph, one forward of all texts
    the encoder works         the render's graph, the encoder's forward and backward
    phi learns                the render's graph, phi's forward and backward (VSD only)
    the field learns          the render's forward and backward
    occupancy is updated      the field's densities in all cells of the grid
    a preview is drawn        the forward of its two views

A refinement has the same moments again: with a surface's renders, without an occupancy grid to
update, and with the coarse field beside it, which draws backgrounds.

The estimate is the largest sum. Text encoders are freed before the optimisation starts.
"""

from dataclasses import dataclass, replace

from dreamfusion_kit.memory.architectures import Components
from dreamfusion_kit.memory.components import second_of
from dreamfusion_kit.memory.device import Device
from dreamfusion_kit.memory.field import FieldMemory, field_memory, rough_bytes
from dreamfusion_kit.memory.prior import PriorMemory, prior_memory
from dreamfusion_kit.memory.surface import (
    SurfaceMemory,
    rough_surface_bytes,
    start_bytes,
    surface_memory,
)
from dreamfusion_kit.recipe.schema import Recipe, RefinePhaseSection

# The moments that are not part of every step.
PREVIEW = "a preview is drawn"
UPDATE = "occupancy is updated"
REFINING = "refine"  # before the name of the second stage's moments

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
    """Return the moments of the recipe's optimisation and of its refinement."""
    return combine(recipe, count(recipe, parts), device)


@dataclass(frozen=True)
class Phase:
    """The memory of a refinement's phase: of the prior at its sizes, and of the surface."""

    name: str
    prior: PriorMemory
    surface: SurfaceMemory


@dataclass(frozen=True)
class Counted:
    """What a recipe's parts take; `phases` are those of its refinement."""

    prior: PriorMemory
    field: FieldMemory
    phases: tuple[Phase, ...]


def count(recipe: Recipe, parts: Components) -> Counted:
    """Return the memory of the parts of a recipe."""
    return Counted(memory_of_prior(recipe, parts), field_memory(recipe), _phases(recipe, parts))


def recount(found: Counted, changed: Recipe, key: str, parts: Components) -> Counted:
    """Return the memory of a recipe with one key changed; what it leaves is that of `found`."""
    match key.split(".")[:2]:
        case ["field" | "renderer", _]:
            return replace(found, field=field_memory(changed))
        case ["prior", _]:
            return with_prior(found, changed, parts)
        case ["guidance", _]:
            return replace(found, prior=memory_of_prior(changed, parts))
        case ["refine", _]:
            return replace(found, phases=_phases(changed, parts))
        case _:
            return count(changed, parts)


def with_prior(found: Counted, changed: Recipe, parts: Components) -> Counted:
    """Return the memory of a recipe of which only `prior` was changed."""
    sections = () if changed.refine is None else changed.refine.phases
    phases = tuple(
        replace(phase, prior=_memory_of_phase(changed, section, parts))
        for phase, section in zip(found.phases, sections, strict=True)
    )
    return replace(found, prior=memory_of_prior(changed, parts), phases=phases)


def memory_of_prior(recipe: Recipe, parts: Components) -> PriorMemory:
    """Return the memory of the recipe's prior in the first stage."""
    return prior_memory(
        recipe.prior,
        recipe.guidance,
        parts,
        batch_size=recipe.optimize.batch_size,
        render_size_px=recipe.camera.largest_image_size_px,
    )


def _memory_of_phase(recipe: Recipe, phase: RefinePhaseSection, parts: Components) -> PriorMemory:
    """Return the memory of the prior in a phase of the refinement."""
    own = None if recipe.refine is None else recipe.refine.prior
    return prior_memory(
        recipe.prior if own is None else own,
        phase.guidance,
        parts if own is None else second_of(parts),
        batch_size=phase.optimize.batch_size,
        render_size_px=phase.camera.largest_image_size_px,
    )


def _phases(recipe: Recipe, parts: Components) -> tuple[Phase, ...]:
    section = recipe.refine
    return tuple(
        Phase(
            _phase_name(recipe, index),
            _memory_of_phase(recipe, phase, parts),
            surface_memory(recipe, section, phase),
        )
        for index, phase in enumerate(section.phases if section else ())
        if section is not None
    )


def _phase_name(recipe: Recipe, index: int) -> str:
    """Return what is put before the names of a phase's moments."""
    several = recipe.refine is not None and len(recipe.refine.phases) > 1
    return f"{REFINING} phase {index + 1}: " if several else f"{REFINING}: "


def combine(recipe: Recipe, found: Counted, device: Device) -> list[Moment]:
    """Return the moments, from the memory of the parts."""
    moments = _of_the_field(recipe, found.prior, found.field, device)
    for phase in found.phases:
        moments += _of_the_surface(recipe, phase, found.field, device)
    return moments


def _of_the_field(
    recipe: Recipe, prior: PriorMemory, field: FieldMemory, device: Device
) -> list[Moment]:
    always = {
        "python and its libraries": device.libraries_bytes,
        "encoder, weights": prior.encoder,
        "phi, its gradient and moments": prior.phi,
        "field": field.parameters,
        "optimiser's state": field.optimizer,
        "occupancy grid": field.occupancy,
    }
    gradient = {"field's gradient": field.gradient}
    learning = gradient | {"render and its backward": field.learning - field.gradient}
    at_rest = _denoiser_at_rest(recipe, prior, device) | always
    waiting = gradient | {"render, kept": field.rendered}
    return [
        *_of_the_prior("", recipe, prior, always, waiting, device),
        Moment("the field learns", at_rest | learning),
        Moment(UPDATE, at_rest | gradient | {"all cells": field.updating}),
        Moment(PREVIEW, at_rest | gradient | {"two views": field.previewing}),
    ]


def _of_the_surface(
    recipe: Recipe, phase: Phase, field: FieldMemory, device: Device
) -> list[Moment]:
    prior, surface = phase.prior, phase.surface
    always = {
        "python and its libraries": device.libraries_bytes,
        "encoder, weights": prior.encoder,
        "phi, its gradient and moments": prior.phi,
        "coarse field": field.parameters + field.occupancy,
        "surface and texture": surface.parameters,
        "optimiser's state": surface.optimizer,
    }
    gradient = {"surface's gradient": surface.gradient}
    learning = gradient | {"render and its backward": surface.learning - surface.gradient}
    at_rest = _denoiser_at_rest(recipe, prior, device) | always
    waiting = gradient | {"render, kept": surface.rendered}
    return [
        *_of_the_prior(phase.name, recipe, prior, always, waiting, device),
        Moment(f"{phase.name}the surface learns", at_rest | learning),
        Moment(f"{phase.name}{PREVIEW}", at_rest | gradient | {"two views": surface.previewing}),
    ]


def _of_the_prior(
    prefix: str,
    recipe: Recipe,
    prior: PriorMemory,
    always: dict[str, int],
    waiting: dict[str, int],
    device: Device,
) -> list[Moment]:
    """Return the moments at which the prior works, while a render waits for its gradient."""
    denoiser = {"denoiser, weights": _weights(recipe, prior, device)}
    at_rest = _denoiser_at_rest(recipe, prior, device) | always
    predicting = {"encoder, kept": prior.encoded, "denoiser, one forward": prior.predicting}
    found: list[Moment] = []
    if prior.denoiser > 0:
        parts = denoiser | always | waiting | predicting
        found.append(Moment(f"{prefix}the denoiser predicts", parts))
    if prior.encoder > 0:
        encoding = {"encoder, forward and backward": prior.encoding}
        found.append(Moment(f"{prefix}the encoder works", at_rest | waiting | encoding))
    if prior.phi > 0:
        phi = {"phi, forward and backward": prior.learning}
        found.append(Moment(f"{prefix}phi learns", denoiser | always | waiting | phi))
    return found


def _denoiser_at_rest(recipe: Recipe, prior: PriorMemory, device: Device) -> dict[str, int]:
    """Return what of the denoiser is on the device while it does nothing."""
    if device.is_gpu and recipe.prior.cpu_offload:
        return {}
    return {"denoiser, weights": _weights(recipe, prior, device)}


def rough_moments(
    recipe: Recipe, parts: Components, prior: PriorMemory, device: Device
) -> list[Moment]:
    """Return roughly the highest moment of each stage, counting renders from the schema alone."""
    found = [_rough_moment("it takes a step", recipe, prior, rough_bytes(recipe), device)]
    section = recipe.refine
    for index, phase in enumerate(section.phases if section else ()):
        if section is not None:
            second = _memory_of_phase(recipe, phase, parts)
            size = rough_surface_bytes(recipe, section, phase)
            name = f"{_phase_name(recipe, index)}it takes a step"
            found.append(_rough_moment(name, recipe, second, size, device))
    return found


def _rough_moment(
    name: str, recipe: Recipe, prior: PriorMemory, renders: int, device: Device
) -> Moment:
    return Moment(
        name,
        {
            "python and its libraries": device.libraries_bytes,
            "prior": _weights(recipe, prior, device) + prior.encoder + prior.phi,
            "prior at work": max(prior.predicting + prior.encoded, prior.encoding, prior.learning),
            "renders and what they show": renders,
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


def preparing_bytes(recipe: Recipe) -> int:
    """Return roughly the main memory in which the refine stage builds its surface; 0 without."""
    return 0 if recipe.refine is None else start_bytes(recipe.refine)
