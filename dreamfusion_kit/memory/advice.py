"""Whether a recipe fits a device, and which of its keys would make it fit."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.memory.architectures import Components
from dreamfusion_kit.memory.cards import NOT_WITH_PHI, USABLE_SHARE, advice_for_cards, trains_phi
from dreamfusion_kit.memory.components import all_components
from dreamfusion_kit.memory.device import Device, describe_device, format_bytes
from dreamfusion_kit.memory.estimate import (
    Counted,
    Moment,
    combine,
    count,
    leaves_as_it_is,
    mesh_bytes,
    preparing_bytes,
    recount,
    rough_moments,
)
from dreamfusion_kit.memory.field import rough_bytes
from dreamfusion_kit.memory.prior_steps import PriorSteps
from dreamfusion_kit.recipe.schema import CameraSection, Recipe, RefineSection

_WIDTH = 44  # of the longest names: keys of a phase, and its moments

# A change that saves less than this share of what is needed is not mentioned, unless it is enough.
_LEAST_SAVING = 0.005

# Limits on the advice of `check_fits`: keys, and how often each is halved.
_MOST_ADVICE, _MOST_HALVINGS = 3, 64
# `rough_moment` is within this factor of the estimate.
_ROUGH_FACTOR = 3


def check_fits(recipe: Recipe, workspace: Path, device: torch.device) -> None:
    """Raise RecipeError if the recipe needs more memory than `device` has in total.

    Costs a fraction of a second unless the answer is close. An estimate between the usable
    share of the device and all of it is accepted: it is off by some percent.
    """
    here = describe_device(device)
    parts, _ = all_components(recipe, workspace)
    priors = PriorSteps(parts)
    peak = _highest(rough_moments(recipe, priors, here))
    if _ROUGH_FACTOR * peak.total > here.total_bytes:
        if peak.total <= _ROUGH_FACTOR * here.total_bytes:
            peak = _highest(combine(recipe, count(recipe, priors), here))
        if peak.total > here.total_bytes:
            raise RecipeError(_refusal(recipe, priors, peak, here))
    _check_main_memory(recipe)


def report(recipe: Recipe, title: str, parts: Components, origin: str, device: Device) -> str:
    """Return the estimate as text: the parts, the sum, the device, and what would help."""
    priors = PriorSteps(parts)
    counted = count(recipe, priors)
    all_moments = combine(recipe, counted, device)
    peak = _highest(all_moments)
    others = [moment for moment in _told(all_moments) if moment is not peak]
    usable = _usable(device)
    lines = [
        _row("recipe", title),
        _row("sizes of the prior", f"from {origin}"),
        _row("highest while", peak.name),
        *(_row(f"  {name}", format_bytes(size)) for name, size in peak.parts.items() if size),
        _row("sum", format_bytes(peak.total)),
        *(_row(f"while {moment.name}", format_bytes(moment.total)) for moment in others),
        _row("the mesh, in main memory", format_bytes(mesh_bytes(recipe))),
        *_row_of_refinement(recipe),
        _row("device", f"{device.name}, {format_bytes(device.total_bytes)}"),
        _row("  free now", format_bytes(device.free_bytes)),
        _row("  to be used", f"{format_bytes(usable)}, the rest is for what is not counted"),
    ]
    cards = advice_for_cards(recipe, counted, priors)
    if peak.total <= usable:
        return "\n".join([*lines, _row("fits", "yes"), *cards])
    lines.append(_row("fits", f"no, {format_bytes(peak.total - usable)} too much"))
    return "\n".join([*lines, *_advice(recipe, counted, priors, device), *cards])


def changes(recipe: Recipe) -> Iterator[tuple[str, object]]:
    """Yield the recipe's keys that cost memory, with the value to try instead."""
    sections = (("prior", recipe.prior), ("guidance", recipe.guidance), ("field", recipe.field))
    has_phi = trains_phi(recipe)
    for name, section in sections:
        for key, value in section.lighter.items():
            if not (has_phi and value in NOT_WITH_PHI):
                yield f"{name}.{key}", value
    if (fewer := _fewer_views(recipe.optimize.batch_size, recipe.camera)) is not None:
        yield "optimize.batch_size", fewer
    yield "camera.image_size_px", max(1, recipe.camera.largest_image_size_px // 2)
    yield "renderer.num_samples", max(1, recipe.renderer.num_samples // 2)
    if recipe.guidance.adapter_rank is not None:
        yield "guidance.phi.rank", max(1, recipe.guidance.adapter_rank // 2)
    yield "renderer.occupancy.resolution", max(1, recipe.renderer.occupancy.resolution // 2)
    if recipe.refine is not None:
        yield from _changes_of(recipe.refine)


def _fewer_views(batch_size: int, camera: CameraSection) -> int | None:
    """Return about half as many views, in whole groups of one object's; None if there are none."""
    group = camera.views_per_object
    groups = batch_size // group
    return None if groups == 1 else groups // 2 * group


def _changes_of(section: RefineSection) -> Iterator[tuple[str, object]]:
    """Yield the keys of a refinement that cost memory, with the value to try instead."""
    for key, value in section.lighter.items():
        yield f"refine.{key}", value
    if section.prior is not None:
        for key, value in section.prior.lighter.items():
            yield f"refine.prior.{key}", value
    for index, phase in enumerate(section.phases):
        place = f"refine.phases.{index}"
        if (fewer := _fewer_views(phase.optimize.batch_size, phase.camera)) is not None:
            yield f"{place}.optimize.batch_size", fewer
        yield f"{place}.camera.image_size_px", max(1, phase.camera.largest_image_size_px // 2)
        if phase.supersampling > 1:
            yield f"{place}.supersampling", phase.supersampling // 2
        for key, value in phase.guidance.lighter.items():
            yield f"{place}.guidance.{key}", value
        if phase.guidance.adapter_rank is not None:
            yield f"{place}.guidance.phi.rank", max(1, phase.guidance.adapter_rank // 2)


def with_key(recipe: Recipe, key: str, value: object) -> Recipe:
    """Return the recipe with one dotted key changed, checked as a whole."""
    data = recipe.model_dump(mode="json")
    *sections, last = key.split(".")
    node: Any = data
    for section in sections:
        node = node[int(section) if section.isdecimal() else section]
    node[last] = value
    return Recipe.model_validate_json(json.dumps(data))


def _highest(found: Sequence[Moment]) -> Moment:
    return max(found, key=lambda moment: moment.total)


def _told(found: Sequence[Moment]) -> list[Moment]:
    """Return all moments of the first stage, and the highest of each of a refinement's phases."""
    phases = {moment.phase for moment in found if moment.phase is not None}
    highest = [
        _highest([each for each in found if each.phase == phase]) for phase in sorted(phases)
    ]
    return [*(moment for moment in found if moment.phase is None), *highest]


def _usable(device: Device) -> int:
    return round(USABLE_SHARE * device.total_bytes)


def _refusal(recipe: Recipe, priors: PriorSteps, peak: Moment, device: Device) -> str:
    largest = max(peak.parts, key=lambda name: peak.parts[name])
    fitting = _fitting(recipe, priors, device)
    advice = " or ".join(fitting) if fitting else "take another prior or a larger device"
    return (
        f"the optimisation needs about {format_bytes(peak.total)} while {peak.name} "
        f"({format_bytes(peak.parts[largest])} of it: {largest}), {device.name} has "
        f"{format_bytes(device.total_bytes)}; {advice}"
    )


def _fitting(recipe: Recipe, priors: PriorSteps, device: Device) -> list[str]:
    """Return the keys that make the recipe fit on their own, the smallest sacrifice first."""
    found: list[tuple[int, str]] = []
    for key, _ in changes(recipe):
        changed, halvings = recipe, 0
        while (value := dict(changes(changed)).get(key)) is not None and halvings < _MOST_HALVINGS:
            smaller = with_key(changed, key, value)
            if smaller == changed:
                break
            changed, halvings = smaller, halvings + 1
            if _surely_fits(changed, priors, device):
                found.append((halvings, f"set {key} to {json.dumps(value)}"))
                break
    return [text for _, text in sorted(found)[:_MOST_ADVICE]]


def _surely_fits(recipe: Recipe, priors: PriorSteps, device: Device) -> bool:
    """Return whether a recipe fits even if the rough count is too low."""
    margin = rough_bytes(recipe) // 4
    if margin + rough_bytes(recipe) > _usable(device):
        return False  # however much the prior takes, which is slower to count
    peak = _highest(rough_moments(recipe, priors, device))
    return margin + peak.total <= _usable(device)


def _check_main_memory(recipe: Recipe) -> None:
    """Raise RecipeError if what the mesh or a refinement's lattices take exceeds main memory."""
    here, mesh, refine = describe_device(torch.device("cpu")), recipe.mesh, recipe.refine
    advised = {
        "mesh": f"mesh.grid_resolution ({mesh.grid_resolution}) or mesh.texture_size_px "
        f"({mesh.texture_size_px})"
    }
    needed = {"mesh": mesh_bytes(recipe), "refine": preparing_bytes(recipe)}
    if refine is not None:
        advised["refine"] = " or ".join(f"refine.{key}" for key in refine.lighter)
    for stage, size in needed.items():
        if size > here.total_bytes:
            raise RecipeError(
                f"{stage}: needs {format_bytes(size)} of main memory, this machine has "
                f"{format_bytes(here.total_bytes)}; lower {advised[stage]}"
            )


def _advice(recipe: Recipe, counted: Counted, priors: PriorSteps, device: Device) -> list[str]:
    """Return what each change would save on its own, the largest first."""
    peak, usable = _highest(combine(recipe, counted, device)), _usable(device)
    found: list[tuple[int, str]] = []
    for key, value in changes(recipe):
        if leaves_as_it_is(key, recipe, peak):
            continue
        changed = with_key(recipe, key, value)
        total = _highest(combine(changed, recount(counted, changed, key, priors), device)).total
        least = 0 if total <= usable else _LEAST_SAVING * peak.total
        if peak.total - total > least:
            verdict = ", which fits" if total <= usable else ""
            text = f"saves {format_bytes(peak.total - total)}{verdict}"
            found.append((total, _row(f"  {key}: {json.dumps(value)}", text)))
    if not found:
        return ["no single change of the recipe helps: another prior, or a larger device"]
    lines, least = [line for _, line in sorted(found)], min(total for total, _ in found)
    if least <= usable:
        return ["what would help, each on its own:", *lines]
    return ["what would help; none is enough on its own, so combine them:", *lines]


def _row_of_refinement(recipe: Recipe) -> list[str]:
    size = preparing_bytes(recipe)
    return [_row("its refinement's start", f"{format_bytes(size)} of main memory")] if size else []


def _row(name: str, value: str) -> str:
    return f"{name:{_WIDTH}} {value}"
