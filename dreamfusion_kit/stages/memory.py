"""How much memory a recipe's optimisation needs, whether it is there, and what would help.

A run has up to five moments at which memory may be highest. Each holds the weights, the
field with its optimiser's state, and beside them:

    the denoiser predicts     the render's graph, the encoder's graph, one forward of all texts
    the encoder's gradient    the render's graph, the encoder's forward and backward
    phi learns                the render's graph, phi's forward and backward (VSD alone)
    the field learns          the render's forward and backward
    a preview is drawn        the forward of its two views

The estimate is the largest sum. Text encoders are gone before the optimisation starts.
"""

import json
import os
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from dreamfusion_kit.optimize.footprint import FieldFootprint, field_footprint
from dreamfusion_kit.priors.architectures import Components
from dreamfusion_kit.priors.footprint import PriorFootprint, components, prior_footprint
from dreamfusion_kit.recipe.load import load_recipe
from dreamfusion_kit.recipe.schema import (
    FlowTransformerSection,
    HashGridSection,
    LatentUnetSection,
    PixelUnetSection,
    Recipe,
    ScoreGuidanceSection,
    VoxelGridSection,
)
from dreamfusion_kit.recipe.suite import resolve

# What kernels take inside one operation, what the allocator rounds up, and a CUDA context are
# not counted: a tenth of the device is left to them.
USABLE_SHARE = 0.9
_WIDTH = 32

PREVIEW = "a preview is drawn"  # the one moment that is no part of a step

# Sections of a recipe that decide one side of the estimate only.
PRIOR_SECTIONS = ("prior", "guidance")
FIELD_SECTIONS = ("field", "renderer")


@dataclass(frozen=True)
class Device:
    """What an optimisation would run on. `libraries_bytes` of it are taken by the program."""

    name: str
    is_gpu: bool
    total_bytes: int
    free_bytes: int
    libraries_bytes: int


@dataclass(frozen=True)
class Moment:
    """What is in memory at one moment of a step: bytes by name."""

    name: str
    parts: dict[str, int]

    @property
    def total(self) -> int:
        """Return the sum of the parts."""
        return sum(self.parts.values())


def describe(workspace: Path, suite: str, *, asset: str | None, recipe: str | None) -> str:
    """Return the estimate for an asset, a recipe of `recipes/`, or one after the other."""
    device = this_device()
    asked: list[tuple[str, Recipe]] = []
    if asset is not None:
        resolved = resolve(workspace, suite, asset)
        asked.append((f"{resolved.recipe_name}, as {asset} has it", resolved.recipe))
    if recipe is not None:
        asked.append((recipe, load_recipe(workspace / "recipes" / f"{recipe}.yaml")))
    return "\n\n".join(
        report(found, title, *components(found.prior, workspace), device) for title, found in asked
    )


def this_device() -> Device:
    """Return the first GPU where there is one, else this machine's main memory."""
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return Device(torch.cuda.get_device_name(), True, total, free, 0)
    page = os.sysconf("SC_PAGE_SIZE")
    total = page * os.sysconf("SC_PHYS_PAGES")
    # macOS does not say what is free.
    free = page * os.sysconf("SC_AVPHYS_PAGES") if "SC_AVPHYS_PAGES" in os.sysconf_names else total
    # Kibibytes on Linux, bytes on macOS. So far this program has only loaded its libraries.
    unit = 1 if sys.platform == "darwin" else 1024
    libraries = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Device("main memory", False, total, free, libraries)


def report(recipe: Recipe, title: str, parts: Components, origin: str, device: Device) -> str:
    """Return the estimate as text: the parts, the sum, the device, and what would help."""
    all_moments = moments(recipe, parts, device)
    peak = max(all_moments, key=lambda moment: moment.total)
    others = [moment for moment in all_moments if moment is not peak]
    usable = round(USABLE_SHARE * device.total_bytes)
    lines = [
        _row("recipe", title),
        _row("sizes of the prior", f"from {origin}"),
        _row("highest while", peak.name),
        *(_row(f"  {name}", format_bytes(size)) for name, size in peak.parts.items() if size),
        _row("sum", format_bytes(peak.total)),
        *(_row(f"while {moment.name}", format_bytes(moment.total)) for moment in others),
        _row("device", f"{device.name}, {format_bytes(device.total_bytes)}"),
        _row("  free now", format_bytes(device.free_bytes)),
        _row("  to be used", f"{format_bytes(usable)}, the rest is for what is not counted"),
    ]
    if peak.total <= usable:
        return "\n".join([*lines, _row("fits", "yes")])
    lines.append(_row("fits", f"no, {format_bytes(peak.total - usable)} too much"))
    return "\n".join([*lines, *_advice(recipe, parts, device, peak.total, usable)])


def moments(recipe: Recipe, parts: Components, device: Device) -> list[Moment]:
    """Return the moments of a run that the recipe has."""
    return _moments(recipe, _prior(recipe, parts), field_footprint(recipe), device)


def changes(recipe: Recipe) -> Iterator[tuple[str, object]]:
    """Yield the recipe's keys that cost memory, with the value to try instead."""
    prior, field = recipe.prior, recipe.field
    if isinstance(prior, PixelUnetSection) and prior.dtype == "float32":
        yield "prior.dtype", "bfloat16"
    if isinstance(prior, LatentUnetSection | FlowTransformerSection):
        if prior.dtype == "float32":
            yield "prior.dtype", "bfloat16"
        if prior.vae_dtype == "float32":
            yield "prior.vae_dtype", "bfloat16"
        if not prior.cpu_offload:
            yield "prior.cpu_offload", True
        if prior.image_size_px > 256:
            yield "prior.image_size_px", prior.image_size_px // 2
    if isinstance(recipe.guidance, ScoreGuidanceSection) and recipe.guidance.perp_neg is not None:
        yield "guidance.perp_neg", None
    if recipe.optimize.batch_size > 1:
        yield "optimize.batch_size", recipe.optimize.batch_size // 2
    yield "camera.image_size_px", max(1, recipe.camera.image_size_px // 2)
    yield "renderer.num_samples", max(1, recipe.renderer.num_samples // 2)
    if isinstance(field, VoxelGridSection):
        yield "field.resolution", max(2, field.resolution // 2)
    if isinstance(field, HashGridSection):
        yield "field.num_levels", max(field.initial_levels, field.num_levels // 2)
        yield "field.initial_levels", max(1, field.initial_levels // 2)


def format_bytes(size: int) -> str:
    """Return a size in MiB below a GiB, else in GiB."""
    return f"{size / 2**20:.1f} MiB" if size < 2**30 else f"{size / 2**30:.2f} GiB"


def _moments(
    recipe: Recipe, prior: PriorFootprint, field: FieldFootprint, device: Device
) -> list[Moment]:
    offloaded = (
        device.is_gpu
        and isinstance(recipe.prior, LatentUnetSection | FlowTransformerSection)
        and recipe.prior.cpu_offload
    )
    always = {
        "python and its libraries": device.libraries_bytes,
        "encoder, weights": prior.encoder,
        "phi, its gradient and moments": prior.phi,
        "field": field.parameters,
        "optimiser's state": field.optimizer,
    }
    denoiser = {"denoiser, weights": prior.denoiser}
    at_rest = always if offloaded else denoiser | always
    waiting = {"field's gradient": field.gradient, "render, kept": field.rendered}
    predicting = {"encoder, kept": prior.encoded, "denoiser, one forward": prior.predicting}
    learning = {
        "field's gradient": field.gradient,
        "render and its backward": field.learning - field.gradient,
    }
    encoding = {"encoder, forward and backward": prior.encoding}
    phi = {"phi, forward and backward": prior.learning}
    found: list[Moment] = []
    if prior.denoiser > 0:
        found.append(Moment("the denoiser predicts", denoiser | always | waiting | predicting))
    if prior.encoder > 0:
        found.append(Moment("the encoder works", at_rest | waiting | encoding))
    if prior.phi > 0:
        found.append(Moment("phi learns", at_rest | waiting | phi))
    found.append(Moment("the field learns", at_rest | learning))
    preview = {"field's gradient": field.gradient, "two views": field.previewing}
    return [*found, Moment(PREVIEW, at_rest | preview)]


def _prior(recipe: Recipe, parts: Components) -> PriorFootprint:
    return prior_footprint(
        recipe.prior,
        recipe.guidance,
        parts,
        batch_size=recipe.optimize.batch_size,
        render_size_px=recipe.camera.image_size_px,
    )


def _advice(
    recipe: Recipe, parts: Components, device: Device, needed: int, usable: int
) -> list[str]:
    """Return what each change would save on its own, the largest first."""
    prior, field = _prior(recipe, parts), field_footprint(recipe)
    found: list[tuple[int, str]] = []
    for key, value in changes(recipe):
        changed, section = with_key(recipe, key, value), key.partition(".")[0]
        total = max(
            moment.total
            for moment in _moments(
                changed,
                prior if section in FIELD_SECTIONS else _prior(changed, parts),
                field if section in PRIOR_SECTIONS else field_footprint(changed),
                device,
            )
        )
        if total < needed:
            verdict = ", which fits" if total <= usable else ""
            text = f"saves {format_bytes(needed - total)}{verdict}"
            found.append((total, _row(f"  {key}: {json.dumps(value)}", text)))
    if not found:
        return ["no single change of the recipe helps: another prior, or a larger device"]
    return ["what would help, each on its own:", *(line for _, line in sorted(found))]


def with_key(recipe: Recipe, key: str, value: object) -> Recipe:
    """Return the recipe with one dotted key changed, checked as a whole."""
    data = recipe.model_dump(mode="json")
    *sections, last = key.split(".")
    node = data
    for section in sections:
        node = node[section]
    node[last] = value
    return Recipe.model_validate_json(json.dumps(data))


def _row(name: str, value: str) -> str:
    return f"{name:{_WIDTH}} {value}"
