"""The memory that a recipe's field, renderer and optimiser take, by taking a small step.

The field is built as it is, the render at a smaller size where it is large: what a render
holds is a constant (a grid's own gradient, say) plus so much per ray, so that two small
renders give the line on which the large one lies.

Counted is the last step of the occupancy grid's warm-up, in which no sample is skipped: all
runs take that step. Later more is skipped, but a field that fills its sphere skips nothing,
and a hash grid's finer levels come into use.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dreamfusion_kit import seeding
from dreamfusion_kit.camera.light import albedo_lighting, headlight
from dreamfusion_kit.camera.pose import fov_y_from_focal
from dreamfusion_kit.camera.rays import pixel_rays
from dreamfusion_kit.camera.sampler import orbit_cameras
from dreamfusion_kit.field.background_mlp import BackgroundMlp
from dreamfusion_kit.field.base import Field
from dreamfusion_kit.field.build import build_field
from dreamfusion_kit.live_memory import LiveMemory
from dreamfusion_kit.optimize.optimizers import build_optimizer
from dreamfusion_kit.optimize.regularizers import needs_normals, regularization
from dreamfusion_kit.optimizer_state import optimizer_tensors
from dreamfusion_kit.recipe.schema import HashGridField, MlpBackground, Recipe
from dreamfusion_kit.renderer.volume import render

# Samples of the largest render that is taken as it is, and of the smaller of the two others:
# more than the lookup's gradient spreads at once, less than a second's work.
_DIRECT_SAMPLES = 300_000
_SMALL_SAMPLES = 65_536


@dataclass(frozen=True)
class FieldFootprint:
    """Bytes on the device. A learned background counts with the field.

    `rendered` waits for the gradient while the guidance works; `learning` is the most that
    render and backward hold at once, with the new `gradient`, which then stays.
    """

    parameters: int
    gradient: int
    optimizer: int
    rendered: int
    learning: int


@dataclass(frozen=True)
class _Render:
    rendered: int
    learning: int


def field_footprint(recipe: Recipe) -> FieldFootprint:
    """Return what the recipe's own size and number of views cost."""
    field, background = _built(recipe)
    groups = field.parameter_groups()
    if background is not None:
        groups += background.parameter_groups()
    optimizer = build_optimizer(recipe.optimize, groups)
    found = _at_full_size(recipe, field, background)
    optimizer.step()
    parameters = [p for group in groups for p in group["params"]]
    return FieldFootprint(
        parameters=_total([*parameters, *field.buffers()]),
        gradient=_total([p.grad for p in parameters if p.grad is not None]),
        optimizer=_total(list(optimizer_tensors(optimizer).values())),
        rendered=found.rendered,
        learning=found.learning,
    )


def _built(recipe: Recipe) -> tuple[Field, BackgroundMlp | None]:
    section = recipe.field
    if isinstance(section, HashGridField):
        # tinycudann needs a GPU and takes less: plain torch is the bound.
        section = section.model_copy(update={"backend": "torch"})
    field = build_field(section, generator=seeding.generator(0, "field"))
    field.set_step(_step(recipe))
    if not isinstance(recipe.background, MlpBackground):
        return field, None
    generator = seeding.generator(0, "background_mlp")
    return field, BackgroundMlp(recipe.background, generator=generator)


def _step(recipe: Recipe) -> int:
    """Return the last step at which the occupancy grid lets everything through."""
    warmup = recipe.renderer.occupancy.warmup_steps
    return max(0, min(warmup, recipe.optimize.num_steps) - 1)


def _at_full_size(recipe: Recipe, field: Field, background: BackgroundMlp | None) -> _Render:
    """Return what the recipe's render holds, read off a line where it is a large one."""
    side, batch = recipe.camera.image_size_px, recipe.optimize.batch_size
    per_ray = recipe.renderer.num_samples
    if recipe.renderer.beyond is not None:
        per_ray += recipe.renderer.beyond.num_samples
    if batch * side**2 * per_ray <= _DIRECT_SAMPLES:
        return _count(recipe, field, background, side, batch)
    near = math.ceil(math.sqrt(_SMALL_SAMPLES / per_ray))
    far = math.ceil(math.sqrt(2) * near)
    small = _count(recipe, field, background, near, 1)
    large = _count(recipe, field, background, far, 1)
    share = (batch * side**2 - near**2) / (far**2 - near**2)
    return _Render(
        round(small.rendered + share * (large.rendered - small.rendered)),
        round(small.learning + share * (large.learning - small.learning)),
    )


def _count(
    recipe: Recipe, field: Field, background: BackgroundMlp | None, side: int, batch: int
) -> _Render:
    """Count one render of `batch` views of `side` pixels, with its backward pass."""
    step = _step(recipe)
    for parameter in [*field.parameters(), *(background.parameters() if background else ())]:
        parameter.grad = None
    # The nearest camera with the longest lens: its rays go the longest way through the field.
    cameras = orbit_cameras(
        torch.linspace(0, 360, batch + 1)[:batch],
        elevation_deg=20.0,
        radius=recipe.camera.radius_range[0],
        fov_y_deg=float(fov_y_from_focal(torch.tensor([recipe.camera.focal_range[1]]))),
        image_size_px=side,
    )
    shading = recipe.shading
    is_shaded = (
        shading.shaded_probability > 0 and shading.albedo_only_steps < recipe.optimize.num_steps
    )
    lighting = (
        headlight(cameras, ambient=shading.ambient, diffuse=shading.diffuse, textureless=False)
        if is_shaded
        else albedo_lighting(cameras)
    )
    with LiveMemory() as memory:
        rays = pixel_rays(cameras)
        behind = background(rays.directions) if background else torch.zeros_like(rays.origins)
        output = render(
            field,
            rays,
            lighting,
            behind,
            section=recipe.renderer,
            bounding_radius=field.bounding_radius,
            occupancy=None,
            with_normals=needs_normals(recipe.optimize.regularizers, step),
            generator=seeding.generator(0, "render"),
        )
        waiting = memory.alive_bytes
        penalty = regularization(recipe.optimize.regularizers, output, field.smoothness, step)
        (output.image.sum() + penalty).backward()
    return _Render(waiting, memory.peak_bytes)


def _total(tensors: list[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
