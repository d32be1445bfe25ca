"""The memory that a recipe's field, renderer and optimiser take, by taking a small step.

The field is built as it is, the render at a smaller size where it is large: what a render
holds is a constant (a grid's own gradient, say) plus so much per ray, so that two small
renders give the line on which the large one lies.

Counted is the last step of the occupancy grid's warm-up, which all runs take: no sample is
skipped. Later most are, unless the field fills its sphere, while a hash grid's finer levels
come into use. A preview is counted as if it were drawn then: a bound where the first comes
later.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import Parameter

from dreamfusion_kit import seeding
from dreamfusion_kit.camera.light import albedo_lighting, headlight
from dreamfusion_kit.camera.pose import fov_y_from_focal
from dreamfusion_kit.camera.rays import pixel_rays
from dreamfusion_kit.camera.sampler import orbit_cameras
from dreamfusion_kit.field.background_mlp import BackgroundMlp
from dreamfusion_kit.field.base import Field, ParameterGroup
from dreamfusion_kit.field.build import build_field
from dreamfusion_kit.live_memory import LiveMemory
from dreamfusion_kit.optimize.optimizers import build_optimizer
from dreamfusion_kit.optimize.regularizers import needs_normals, regularization
from dreamfusion_kit.optimizer_state import optimizer_tensors
from dreamfusion_kit.recipe.schema import (
    HashGridSection,
    MlpBackgroundSection,
    Recipe,
    VoxelGridSection,
)
from dreamfusion_kit.records import Cameras, Lighting, RenderOutput
from dreamfusion_kit.renderer.ray_samples import RaySamples
from dreamfusion_kit.renderer.volume import render


@dataclass(frozen=True)
class FieldFootprint:
    """Bytes on the device. A learned background counts with the field.

    `rendered` waits for the gradient while the guidance works; `learning` is the most that
    render and backward hold at once, with the new `gradient`, which then stays. `previewing`
    is the most that a preview's two views hold.
    """

    parameters: int
    gradient: int
    optimizer: int
    rendered: int
    learning: int
    previewing: int


@dataclass(frozen=True)
class _Model:
    """What is optimised."""

    field: Field
    background: BackgroundMlp | None
    interlevel_lambda = 0.0

    def smoothness(self) -> Tensor:
        """Return the field's roughness."""
        return self.field.smoothness()

    @property
    def groups(self) -> list[ParameterGroup]:
        """Return all parameter groups."""
        return [part for module in self.modules for part in module.parameter_groups()]

    @property
    def parameters(self) -> list[Parameter]:
        """Return all parameters."""
        return [parameter for group in self.groups for parameter in group["params"]]

    @property
    def modules(self) -> list[Field | BackgroundMlp]:
        """Return the field, and the background where it is learned."""
        return [self.field] if self.background is None else [self.field, self.background]


# From an image's side and the number of views to counts of bytes.
Count = Callable[[int, int], tuple[int, ...]]


def field_footprint(recipe: Recipe) -> FieldFootprint:
    """Return what the recipe's own size and number of views cost."""
    model = _model(recipe)
    (previewing,) = _at_full_size(recipe, partial(_count_preview, recipe, model), views=2)
    optimizer = build_optimizer(recipe.optimize, model.groups)
    rendered, learning = _at_full_size(
        recipe, partial(_count_step, recipe, model), views=recipe.optimize.batch_size
    )
    optimizer.step()
    buffers = [buffer for module in model.modules for buffer in module.buffers()]
    return FieldFootprint(
        parameters=_total([*model.parameters, *buffers]),
        gradient=_total([p.grad for p in model.parameters if p.grad is not None]),
        optimizer=_total(list(optimizer_tensors(optimizer).values())),
        rendered=rendered,
        learning=learning,
        previewing=previewing,
    )


def _model(recipe: Recipe) -> _Model:
    section = recipe.field
    if isinstance(section, HashGridSection):
        # tinycudann needs a GPU. Kept is the same, features; what comes and goes is small beside
        # them, also on CUDA, where the table's gradient is summed in 8 bytes a number.
        section = section.model_copy(update={"backend": "torch"})
    field = build_field(section, generator=seeding.generator(0, "field"))
    field.set_step(_step(recipe))
    if not isinstance(recipe.background, MlpBackgroundSection):
        return _Model(field, None)
    generator = seeding.generator(0, "background_mlp")
    return _Model(field, BackgroundMlp(recipe.background, generator=generator))


def _step(recipe: Recipe) -> int:
    """Return the last step at which the occupancy grid lets everything through."""
    warmup = recipe.renderer.occupancy.warmup_steps
    return max(0, min(warmup, recipe.optimize.num_steps) - 1)


def _at_full_size(recipe: Recipe, count: Count, *, views: int) -> tuple[int, ...]:
    """Return the counts at the recipe's own size, read off a line where that is large."""
    side, per_ray = recipe.camera.image_size_px, recipe.renderer.num_samples
    if recipe.renderer.beyond is not None:
        per_ray += recipe.renderer.beyond.num_samples
    # Cheap samples are taken all. Grids spread their gradient in chunks, beside which the small
    # renders, too, have to be what is large.
    is_grid = isinstance(recipe.field, VoxelGridSection | HashGridSection)
    most_taken, small = (300_000, 65_536) if is_grid else (32_768, 16_384)
    if views * side**2 * per_ray <= most_taken:
        return count(side, views)
    near = math.ceil(math.sqrt(small / per_ray))
    far = math.ceil(math.sqrt(2) * near)
    share = (views * side**2 - near**2) / (far**2 - near**2)
    pairs = zip(count(near, 1), count(far, 1), strict=True)
    return tuple(round(first + share * (second - first)) for first, second in pairs)


def _count_step(recipe: Recipe, model: _Model, side: int, views: int) -> tuple[int, int]:
    """Return what waits for the gradient, and the most that render and backward hold."""
    for parameter in model.parameters:
        parameter.grad = None
    regularizers, step = recipe.optimize.regularizers, _step(recipe)
    camera, shading = recipe.camera, recipe.shading
    # The nearest camera with the longest lens sees the most of the field.
    nearest, longest = camera.radius_range[0], camera.focal_range[1]
    cameras = _cameras(side, views, radius=nearest, focal=longest)
    is_ever_shaded = (
        shading.shaded_probability > 0 and shading.albedo_only_steps < recipe.optimize.num_steps
    )
    lighting = _lamp(recipe, cameras) if is_ever_shaded else albedo_lighting(cameras)
    with LiveMemory() as memory:
        normals = needs_normals(regularizers, step)
        output, samples = _render(recipe, model, cameras, lighting, with_normals=normals)
        waiting = memory.alive_bytes
        penalty = regularization(regularizers, output.opacity, samples, model, step)
        (output.image.sum() + penalty).backward()
    return waiting, memory.peak_bytes


def _count_preview(recipe: Recipe, model: _Model, side: int, views: int) -> tuple[int]:
    """Return the most that a render for people holds."""
    camera = recipe.camera
    radius, focal = sum(camera.radius_range) / 2, sum(camera.focal_range) / 2  # as previews have it
    cameras = _cameras(side, views, radius=radius, focal=focal)
    with LiveMemory() as memory, torch.no_grad():
        _render(recipe, model, cameras, _lamp(recipe, cameras), with_normals=False)
    return (memory.peak_bytes,)


def _cameras(side: int, views: int, *, radius: float, focal: float) -> Cameras:
    return orbit_cameras(
        torch.linspace(0, 360, views + 1)[:views],
        elevation_deg=20.0,
        radius=radius,
        fov_y_deg=float(fov_y_from_focal(torch.tensor([focal]))),
        image_size_px=side,
    )


def _lamp(recipe: Recipe, cameras: Cameras) -> Lighting:
    shading = recipe.shading
    return headlight(cameras, ambient=shading.ambient, diffuse=shading.diffuse, textureless=False)


def _render(
    recipe: Recipe, model: _Model, cameras: Cameras, lighting: Lighting, *, with_normals: bool
) -> tuple[RenderOutput, RaySamples]:
    rays = pixel_rays(cameras)
    background = model.background
    return render(
        model.field,
        rays,
        lighting,
        torch.zeros_like(rays.origins) if background is None else background(rays.directions),
        section=recipe.renderer,
        bounding_radius=model.field.bounding_radius,
        occupancy=None,
        with_normals=with_normals,
        generator=seeding.generator(0, "render"),
    )


def _total(tensors: list[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
