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
from dreamfusion_kit.memory.device import Device
from dreamfusion_kit.memory.field import FieldMemory, field_memory, rough_bytes, with_occupancy
from dreamfusion_kit.memory.prior import PriorMemory
from dreamfusion_kit.memory.prior_steps import PriorSteps
from dreamfusion_kit.memory.surface import (
    SurfaceMemory,
    rough_surface_bytes,
    start_bytes,
    surface_memory,
)
from dreamfusion_kit.recipe.schema import PriorSection, Recipe

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
    """What is in memory at one moment: bytes by name. `phase` is None in the first stage."""

    name: str
    parts: dict[str, int]
    phase: int | None = None

    @property
    def total(self) -> int:
        """Return the sum of the parts."""
        return sum(self.parts.values())


def moments(recipe: Recipe, parts: Components, device: Device) -> list[Moment]:
    """Return the moments of the recipe's optimisation and of its refinement."""
    return combine(recipe, count(recipe, PriorSteps(parts)), device)


@dataclass(frozen=True)
class Phase:
    """The memory of a refinement's phase: of the prior at its sizes, and of the surface."""

    index: int
    name: str
    prior: PriorMemory
    surface: SurfaceMemory


@dataclass(frozen=True)
class Counted:
    """What a recipe's parts take; `phases` are those of its refinement."""

    prior: PriorMemory
    field: FieldMemory
    phases: tuple[Phase, ...]


def count(recipe: Recipe, priors: PriorSteps) -> Counted:
    """Return the memory of the parts of a recipe."""
    section = recipe.refine
    phases = () if section is None else section.phases
    return Counted(
        prior=priors.first(recipe),
        field=field_memory(recipe),
        phases=tuple(
            Phase(
                index,
                _phase_name(recipe, index),
                priors.of_phase(recipe, phase),
                surface_memory(recipe, section, phase),
            )
            for index, phase in enumerate(phases)
            if section is not None
        ),
    )


def recount(found: Counted, changed: Recipe, key: str, priors: PriorSteps) -> Counted:
    """Return the memory of a recipe with one key changed; what it leaves is that of `found`.

    The keys are those of `advice.changes`: others may be read elsewhere than is known here.
    """
    match key.split("."):
        case ["renderer", "occupancy", *_]:
            return replace(found, field=with_occupancy(found.field, changed))
        case ["field" | "renderer", *_]:
            return replace(found, field=field_memory(changed))
        case ["prior", *_]:
            return with_prior(found, changed, priors)
        case ["guidance", *_]:
            return replace(found, prior=priors.first(changed))
        case ["camera" | "optimize", *_]:
            return replace(found, prior=priors.first(changed), field=field_memory(changed))
        case ["refine", "prior", *_]:
            return _with_phases(found, changed, priors)
        case ["refine", "phases", index, "guidance", *_]:
            return _with_phases(found, changed, priors, int(index))
        case ["refine", "phases", index, *_]:
            return _with_surfaces(
                _with_phases(found, changed, priors, int(index)), changed, int(index)
            )
        case ["refine", *_]:
            return _with_surfaces(found, changed)
        case _:
            return count(changed, priors)


def with_prior(found: Counted, changed: Recipe, priors: PriorSteps) -> Counted:
    """Return the memory of a recipe of which only `prior` was changed."""
    return _with_phases(replace(found, prior=priors.first(changed)), changed, priors)


def _with_phases(
    found: Counted, changed: Recipe, priors: PriorSteps, only: int | None = None
) -> Counted:
    """Return the memory with that of the prior counted in each phase, or in one."""
    sections = () if changed.refine is None else changed.refine.phases
    phases = tuple(
        replace(phase, prior=priors.of_phase(changed, section))
        if only in (None, phase.index)
        else phase
        for phase, section in zip(found.phases, sections, strict=True)
    )
    return replace(found, phases=phases)


def _with_surfaces(found: Counted, changed: Recipe, only: int | None = None) -> Counted:
    """Return the memory with that of the surface counted in each phase, or in one."""
    refine = changed.refine
    if refine is None:
        return found
    phases = tuple(
        replace(phase, surface=surface_memory(changed, refine, section))
        if only in (None, phase.index)
        else phase
        for phase, section in zip(found.phases, refine.phases, strict=True)
    )
    return replace(found, phases=phases)


def leaves_as_it_is(key: str, recipe: Recipe, moment: Moment) -> bool:
    """Return whether a moment takes the same whatever the key is set to, by its stage alone."""
    match key.split("."):
        case ["refine", "phases", index, *_]:
            return moment.phase != int(index)
        case ["refine", *_]:
            return moment.phase is None
        case ["prior", *_]:
            return moment.phase is not None and _second_prior(recipe) is not recipe.prior
        case ["guidance" | "camera" | "optimize", *_]:
            return moment.phase is not None
        case _:
            return False


def _second_prior(recipe: Recipe) -> PriorSection:
    """Return the prior of the refinement."""
    own = None if recipe.refine is None else recipe.refine.prior
    return recipe.prior if own is None else own


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
    at_rest = _denoiser_at_rest(recipe.prior, prior, device) | always
    waiting = gradient | {"render, kept": field.rendered}
    return [
        *_of_the_prior("", recipe.prior, prior, always, waiting, device),
        Moment("the field learns", at_rest | learning),
        Moment(UPDATE, at_rest | gradient | {"all cells": field.updating}),
        Moment(PREVIEW, at_rest | gradient | {"two views": field.previewing}),
    ]


def _of_the_surface(
    recipe: Recipe, phase: Phase, field: FieldMemory, device: Device
) -> list[Moment]:
    section, prior, surface = _second_prior(recipe), phase.prior, phase.surface
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
    at_rest = _denoiser_at_rest(section, prior, device) | always
    waiting = gradient | {"render, kept": surface.rendered}
    found = [
        *_of_the_prior(phase.name, section, prior, always, waiting, device),
        Moment(f"{phase.name}the surface learns", at_rest | learning),
        Moment(f"{phase.name}{PREVIEW}", at_rest | gradient | {"two views": surface.previewing}),
    ]
    return [replace(moment, phase=phase.index) for moment in found]


def _of_the_prior(
    prefix: str,
    section: PriorSection,
    prior: PriorMemory,
    always: dict[str, int],
    waiting: dict[str, int],
    device: Device,
) -> list[Moment]:
    """Return the moments at which the prior works, while a render waits for its gradient."""
    denoiser = {"denoiser, weights": _weights(section, prior, device)}
    at_rest = _denoiser_at_rest(section, prior, device) | always
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


def _denoiser_at_rest(section: PriorSection, prior: PriorMemory, device: Device) -> dict[str, int]:
    """Return what of the denoiser is on the device while it does nothing."""
    if device.is_gpu and section.cpu_offload:
        return {}
    return {"denoiser, weights": _weights(section, prior, device)}


def rough_moments(recipe: Recipe, priors: PriorSteps, device: Device) -> list[Moment]:
    """Return roughly the highest moment of each stage, counting renders from the schema alone."""
    name, prior = "it takes a step", priors.first(recipe)
    found = [_rough_moment(name, recipe.prior, prior, rough_bytes(recipe), device)]
    section = recipe.refine
    for index, phase in enumerate(section.phases if section else ()):
        if section is not None:
            second = priors.of_phase(recipe, phase)
            size = rough_surface_bytes(recipe, section, phase)
            full = f"{_phase_name(recipe, index)}{name}"
            found.append(_rough_moment(full, _second_prior(recipe), second, size, device))
    return found


def _rough_moment(
    name: str, section: PriorSection, prior: PriorMemory, renders: int, device: Device
) -> Moment:
    return Moment(
        name,
        {
            "python and its libraries": device.libraries_bytes,
            "prior": _weights(section, prior, device) + prior.encoder + prior.phi,
            "prior at work": max(prior.predicting + prior.encoded, prior.encoding, prior.learning),
            "renders and what they show": renders,
        },
    )


def _weights(section: PriorSection, prior: PriorMemory, device: Device) -> int:
    """Return what of the denoiser is on the device while it predicts."""
    in_blocks = device.is_gpu and section.cpu_offload == "group"
    return prior.moved if in_blocks else prior.denoiser


def mesh_bytes(recipe: Recipe) -> int:
    """Return roughly the main memory that the mesh stage takes for its lattice or its texture."""
    lattice = _PER_LATTICE_POINT * recipe.mesh.grid_resolution**3
    return max(lattice, _PER_TEXEL * recipe.mesh.texture_size_px**2)


def preparing_bytes(recipe: Recipe) -> int:
    """Return roughly the main memory in which the refine stage builds its surface; 0 without."""
    return 0 if recipe.refine is None else start_bytes(recipe.refine)
