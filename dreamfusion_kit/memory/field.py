"""The memory that a recipe's field, renderer and optimiser take, by taking a small step.

A step's memory is a constant plus a multiple of its size, so two small steps give the line
on which the large one lies. They use fewer rays and, for a large field, fewer parameters, by
the same share: which of the two dominates does not change.

The step counted is the last one of the occupancy grid's warm-up, which all runs take: no sample
is skipped. Later most are, unless the field fills its sphere, while a hash grid's finer levels
are enabled. A preview is counted as if it were drawn then: a bound if the first comes later.
"""

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from dreamfusion_kit import seeding
from dreamfusion_kit.camera.light import albedo_lighting, headlight
from dreamfusion_kit.camera.pose import fov_y_from_focal
from dreamfusion_kit.camera.rays import pixel_rays
from dreamfusion_kit.camera.sampler import orbit_cameras
from dreamfusion_kit.memory.line import line
from dreamfusion_kit.memory.live import LiveMemory
from dreamfusion_kit.model.nerf import NerfModel
from dreamfusion_kit.optimize.optimizers import build_optimizer
from dreamfusion_kit.optimize.penalties import needs_normals, sum_of, weighted_penalties
from dreamfusion_kit.optimizer_state import optimizer_tensors
from dreamfusion_kit.recipe.schema import (
    DistributedShampooSection,
    HashGridSection,
    OptimizeSection,
    Recipe,
)
from dreamfusion_kit.records import Cameras, Lighting, RenderOutput
from dreamfusion_kit.renderer.occupancy import OccupancyGrid
from dreamfusion_kit.renderer.ray_samples import RaySamples

# Sizes up to which a recipe is counted unreduced: more cost seconds. The samples' memory must be
# large beside the parameters', or a small and a large step peak at different moments.
_NUMBERS_PER_PARAMETER = 10
_FEWEST_SAMPLES, _MOST_SAMPLES = 1 << 15, 1 << 17
_MOST_PARAMETERS = 1 << 25
_MOST_PER_RAY = 2048
_MOST_CELLS_PER_AXIS = 32

_SMALL_VIEW_PX = 4  # small views, so that their number sets the number of rays
_NUM_PREVIEWS = 2

# Numbers that the renderer itself keeps per sample of the field; `rough_bytes`.
_RENDERED_PER_SAMPLE = 60


@dataclass(frozen=True)
class FieldMemory:
    """Bytes on the device; a learned background and a proposal network count with the field.

    `rendered` waits for the gradient while the guidance works; `learning` is the peak memory of
    render and backward, with the new `gradient`, which then stays. `previewing` is the peak
    memory of a preview's two views, `updating` that of the occupancy grid's update.
    """

    parameters: int
    gradient: int
    optimizer: int
    occupancy: int
    rendered: int
    learning: int
    previewing: int
    updating: int


def field_memory(recipe: Recipe) -> FieldMemory:
    """Return the memory of the recipe at its own size and number of views."""
    share = _share(recipe)
    if share == 1:
        found = _counted(recipe, 1.0)[0]
    else:
        near, at = _counted(recipe, share / 2, fewest_views=2)
        far, beyond = _counted(recipe, share, fewest_views=4)
        found = line(near, far, (1 - at) / (beyond - at))
    # Counted at the size of the largest views; a preview of a growing size has the smallest.
    part = (recipe.camera.preview_image_size_px / recipe.camera.largest_image_size_px) ** 2
    return found if part == 1 else replace(found, previewing=round(part * found.previewing))


def with_occupancy(found: FieldMemory, recipe: Recipe) -> FieldMemory:
    """Return the memory of a recipe that differs from the one counted by its occupancy grid."""
    if _is_large(recipe):  # whose cells are queried in a field that is scaled down
        return field_memory(recipe)
    updating = _count_update(recipe, _model(recipe))
    return replace(found, occupancy=_occupancy_bytes(recipe), updating=updating)


def rough_bytes(recipe: Recipe) -> int:
    """Return roughly what the optimisation takes beside its prior, from the schema alone.

    It is instant for any recipe. A test holds it to a factor of three of `field_memory`.
    """
    renderer, proposal = recipe.renderer, recipe.renderer.proposal
    parameters = recipe.field.num_parameters + recipe.background.num_parameters
    per_ray = recipe.background.numbers_per_ray + renderer.field_samples_per_ray * (
        _RENDERED_PER_SAMPLE + recipe.field.numbers_per_sample
    )
    if proposal is not None:
        parameters += proposal.num_parameters
        per_ray += renderer.samples_per_ray * proposal.numbers_per_sample
    cells = 20 * renderer.occupancy.resolution**3
    return 4 * (5 * parameters + _num_rays(recipe) * per_ray + cells)


def _num_rays(recipe: Recipe) -> int:
    return recipe.optimize.batch_size * recipe.camera.largest_image_size_px**2


def _share(recipe: Recipe) -> float:
    """Return the share of the recipe's size at which its memory is counted; 1 is full size."""
    samples = _num_rays(recipe) * recipe.renderer.samples_per_ray
    numbers = _NUMBERS_PER_PARAMETER * recipe.field.num_parameters
    most = numbers // recipe.field.numbers_per_sample
    most = min(max(most, _FEWEST_SAMPLES), _MOST_SAMPLES)
    share = 1.0 if samples <= 2 * most else most / samples
    if _is_large(recipe):
        share = min(share, _MOST_PARAMETERS / recipe.field.num_parameters)
    return share


def _is_large(recipe: Recipe) -> bool:
    return recipe.field.num_parameters > _MOST_PARAMETERS


def _counted(recipe: Recipe, share: float, *, fewest_views: int = 1) -> tuple[FieldMemory, float]:
    """Return the memory at about that share of the recipe, and the exact share.

    Few rays of many samples would round to one view at any small share: `fewest_views` keeps two
    shares apart.
    """
    num_rays, field = _num_rays(recipe), recipe.field
    small, rays_per_ray = _with_fewer_samples(recipe)
    if _is_large(recipe):
        small = small.model_copy(update={"field": field.scaled(share)})
        share = small.field.num_parameters / field.num_parameters
        rays_per_ray *= field.numbers_per_sample / small.field.numbers_per_sample
    side, views = recipe.camera.largest_image_size_px, recipe.optimize.batch_size
    previews = _NUM_PREVIEWS
    if share < 1:
        per_view, side = _SMALL_VIEW_PX**2, _SMALL_VIEW_PX
        views = max(fewest_views, round(share * num_rays * rays_per_ray / per_view))
        previews = max(1, round(views * _NUM_PREVIEWS / recipe.optimize.batch_size))
        if not _is_large(recipe):
            share = views * per_view / (num_rays * rays_per_ray)
    return _count(small, side, views, previews), share


def _with_fewer_samples(recipe: Recipe) -> tuple[Recipe, float]:
    """Return a copy with bounded samples per ray, and how many of its rays stand for one."""
    renderer = recipe.renderer
    if renderer.samples_per_ray <= _MOST_PER_RAY:
        return recipe, 1.0
    part = _MOST_PER_RAY / renderer.samples_per_ray
    beyond = renderer.beyond
    if beyond is not None:
        proposal = beyond.proposal
        if proposal is not None:
            fewer = max(1, round(part * proposal.num_samples))
            proposal = proposal.model_copy(update={"num_samples": fewer})
        update = {"num_samples": max(1, round(part * beyond.num_samples)), "proposal": proposal}
        beyond = beyond.model_copy(update=update)
    update = {"num_samples": max(1, round(part * renderer.num_samples)), "beyond": beyond}
    return recipe.model_copy(update={"renderer": renderer.model_copy(update=update)}), 1 / part


def _count(recipe: Recipe, side: int, views: int, previews: int) -> FieldMemory:
    """Count one step of `views`, one preview and one update of the occupancy grid."""
    model = _model(recipe)
    previewing = _count_preview(recipe, model, side, previews)
    optimizer = build_optimizer(_without_roots(recipe.optimize), model.parameter_groups())
    rendered, learning = _count_step(recipe, model, side, views)
    optimizer.step()
    modules = (model.field, model.background, model.proposal)
    buffers = [
        buffer for module in modules if isinstance(module, nn.Module) for buffer in module.buffers()
    ]
    return FieldMemory(
        parameters=_total([*model.parameters(), *buffers]),
        gradient=_total([p.grad for p in model.parameters() if p.grad is not None]),
        optimizer=_total(list(optimizer_tensors(optimizer).values())),
        occupancy=_occupancy_bytes(recipe),
        rendered=rendered,
        learning=learning,
        previewing=previewing,
        updating=_count_update(recipe, model),
    )


def _occupancy_bytes(recipe: Recipe) -> int:
    return 5 * recipe.renderer.occupancy.resolution**3


def _without_roots(section: OptimizeSection) -> OptimizeSection:
    """Return an optimiser with the same tensors; Shampoo's roots would take minutes."""
    if not isinstance(section.optimizer, DistributedShampooSection):
        return section
    never = section.optimizer.model_copy(update={"preconditioner_every_steps": 2})
    return section.model_copy(update={"optimizer": never})


def _model(recipe: Recipe) -> NerfModel:
    section = recipe.field
    if isinstance(section, HashGridSection):
        # tinycudann needs a GPU. It keeps the same features; temporary memory is small beside
        # them, also on CUDA, where the table's gradient is summed in 8 bytes a number.
        section = section.model_copy(update={"backend": "torch"})
    model = NerfModel.build(recipe.model_copy(update={"field": section}), seed=0)
    model.set_step(_step(recipe))
    return model


def _step(recipe: Recipe) -> int:
    """Return the last step at which the occupancy grid lets everything through."""
    warmup = recipe.renderer.occupancy.warmup_steps
    return max(0, min(warmup, recipe.optimize.num_steps) - 1)


def _count_step(recipe: Recipe, model: NerfModel, side: int, views: int) -> tuple[int, int]:
    """Return what waits for the gradient, and the peak memory of render and backward."""
    for parameter in model.parameters():
        parameter.grad = None
    penalties, step = recipe.optimize.penalties, _step(recipe)
    camera, shading = recipe.camera, recipe.shading
    # The nearest camera with the longest lens sees the most of the field.
    nearest, longest = camera.radius_range[0], camera.focal_range[1]
    cameras = _cameras(side, views, radius=camera.distance(nearest, longest), focal=longest)
    is_ever_shaded = (
        shading.shaded_probability > 0 and shading.albedo_only_steps < recipe.optimize.num_steps
    )
    lighting = _lamp(recipe, cameras) if is_ever_shaded else albedo_lighting(cameras)
    with LiveMemory() as memory:
        normals = needs_normals(penalties, step)
        output, samples = _render(model, cameras, lighting, with_normals=normals)
        waiting = memory.alive_bytes
        loss = output.image.sum()
        terms = weighted_penalties(penalties, output.opacity, samples, model, step)
        loss = loss + sum_of(terms, loss.device)
        loss.backward()
    return waiting, memory.peak_bytes


def _count_preview(recipe: Recipe, model: NerfModel, side: int, views: int) -> int:
    """Return the peak memory of a preview."""
    camera = recipe.camera
    radius, focal = sum(camera.radius_range) / 2, sum(camera.focal_range) / 2  # as previews have it
    cameras = _cameras(side, views, radius=camera.distance(radius, focal), focal=focal)
    with LiveMemory() as memory, torch.no_grad():
        _render(model, cameras, _lamp(recipe, cameras), with_normals=False)
    return memory.peak_bytes


def _count_update(recipe: Recipe, model: NerfModel) -> int:
    """Return the peak memory of an occupancy grid update; for many cells, by proportion."""
    resolution = min(recipe.renderer.occupancy.resolution, _MOST_CELLS_PER_AXIS)
    share = (recipe.renderer.occupancy.resolution / resolution) ** 3
    section = recipe.renderer.occupancy.model_copy(update={"resolution": resolution})
    grid = OccupancyGrid(section, model.field.bounding_radius)
    with LiveMemory() as memory:
        grid.update(model.field.envelope, generator=seeding.generator(0, "occupancy"))
    return round(share * memory.peak_bytes)


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
    model: NerfModel, cameras: Cameras, lighting: Lighting, *, with_normals: bool
) -> tuple[RenderOutput, RaySamples]:
    rays = pixel_rays(cameras)
    draw = partial(seeding.generator, 0)
    return model.render_with_samples(
        rays,
        lighting,
        model.draw_background(rays, generator=draw("background")),
        with_normals=with_normals,
        generator=draw("render"),
    )


def _total(tensors: list[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
