"""The memory that a refined surface, its renderer and its optimiser take, by taking a small step.

Nobody knows the surface before it exists; it is counted as a sphere of 0.7 of the ball's radius
that the nearest camera sees. What depends on the lattice is a multiple of its points plus one of
its surface's, so two small lattices give a large one. What depends on triangles and pixels is
counted on fewer of both, by the same share: a lattice and a picture of half the side have a
quarter of either.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import assert_never

import torch
from torch import Tensor

from dreamfusion_kit import seeding
from dreamfusion_kit.camera.light import headlight
from dreamfusion_kit.camera.pose import fov_y_from_focal
from dreamfusion_kit.camera.sampler import orbit_cameras
from dreamfusion_kit.memory.live import LiveMemory
from dreamfusion_kit.optimize.optimizers import build_optimizer
from dreamfusion_kit.optimize.surface_trainee import SurfaceTrainee
from dreamfusion_kit.optimizer_state import optimizer_tensors
from dreamfusion_kit.recipe.schema import (
    FlexicubesSection,
    GridTextureSection,
    GridValueSection,
    HashGridTextureSection,
    Recipe,
    RefinePhaseSection,
    RefineSection,
    ShadingSection,
    VertexOffsetsSection,
)
from dreamfusion_kit.records import Cameras, Lighting, Rays, Surface
from dreamfusion_kit.renderer.mesh.visibility import PAIRS_AT_ONCE, visible_faces
from dreamfusion_kit.shape.lattice import lattice
from dreamfusion_kit.shape.model import SurfaceModel, build_representation
from dreamfusion_kit.shape.start import Start
from dreamfusion_kit.shape.tetrahedra import marching_tetrahedra

_SPHERE = 0.7  # its radius, of the ball's
_FACES_PER_SQUARE = 13.0  # of a sphere of that radius, per squared number of points per axis
_DUAL_FACES = 0.65  # as many triangles do dual cubes give, beside marching tetrahedra

# Sizes up to which nothing is scaled.
_MOST_POINTS_PER_AXIS = 48
_MOST_PIXELS, _MOST_FACES, _MOST_VIEWS = 1 << 17, 1 << 16, 8
_FEWEST_PAIRS = 1 << 14  # tested at once
_FEWEST_POINTS_PER_AXIS, _SMALLEST_VIEW_PX = 5, 8
_COUNTED_TEXTURE = 8  # points per axis while pixels are counted

# Bytes that Open3D and numpy hold per lattice point while the coarse surface's distances and
# colours are asked for (measured: 128 to 135 and 160).
_PER_DISTANCE, _PER_COLOR = 135, 160
_PER_KEPT = 40  # per lattice point: its position, distance, offset and raw distance

_NUM_PREVIEWS = 2
_TRIANGLE_AND_PIXEL = 160  # bytes per pair in `visible_faces`; `rough_surface_bytes`
_PER_PIXEL, _PER_FACE = 700, 900  # bytes; `rough_surface_bytes`


@dataclass(frozen=True)
class SurfaceMemory:
    """Bytes on the device, by the same names as `FieldMemory`; buffers count as parameters."""

    parameters: int
    gradient: int
    optimizer: int
    rendered: int
    learning: int
    previewing: int


@dataclass(frozen=True)
class _Extraction:
    """Bytes of turning a lattice into a surface: the graph that stays, and two peaks."""

    kept: float
    forward: float
    backward: float


@dataclass(frozen=True)
class _Drawing:
    """Bytes of drawing a surface: the graph that stays, and the peaks; `preview` has no graph."""

    kept: float
    forward: float
    backward: float
    preview: float


def surface_memory(
    recipe: Recipe, section: RefineSection, phase: RefinePhaseSection
) -> SurfaceMemory:
    """Return the memory of a phase of a refinement at its own size and number of views."""
    stored, trained, optimizer = _stored(recipe, section, phase)
    texture = 4 * section.num_appearance_parameters if "texture" in phase.parts else 0
    extraction = _extraction(recipe, section, phase)
    drawing = _drawing(recipe, section, phase)
    # The backward pass meets the pictures first, then the texture and the surface.
    backward = texture + max(drawing.backward, extraction.backward)
    peaks = (
        extraction.forward,
        extraction.kept + drawing.forward,
        extraction.kept + backward,
    )
    return SurfaceMemory(
        parameters=stored,
        gradient=trained,
        optimizer=optimizer,
        rendered=round(extraction.kept + drawing.kept),
        learning=max(trained, round(max(peaks))),
        previewing=round(max(extraction.forward, extraction.kept + drawing.preview)),
    )


def start_bytes(section: RefineSection) -> int:
    """Return the main memory in which a surface is built, before the first step.

    The coarse surface's distances and colours are asked for at all points of the lattices.
    """
    points = section.representation.lattice_resolution**3
    texels = section.texture.lattice_resolution**3
    return max(_PER_DISTANCE * points, _PER_KEPT * points + _PER_COLOR * texels)


def rough_surface_bytes(recipe: Recipe, section: RefineSection, phase: RefinePhaseSection) -> int:
    """Return roughly what a phase takes beside its prior, from the schema alone.

    It is instant for any recipe. A test holds it to a factor of three of `surface_memory`.
    """
    views = phase.optimize.batch_size
    pixels = views * (phase.camera.largest_image_size_px * phase.supersampling) ** 2
    faces = _num_faces(recipe, section)
    pairs = min(PAIRS_AT_ONCE, 2 * views * faces + 4 * pixels)
    return round(
        60 * section.representation.lattice_resolution**3
        + 4 * 4 * section.representation.num_cell_weights
        + 4 * 4 * section.num_appearance_parameters
        + _PER_FACE * faces
        + max(_PER_PIXEL * pixels, 160 * views * faces + _TRIANGLE_AND_PIXEL * pairs)
    )


def _num_faces(recipe: Recipe, section: RefineSection) -> float:
    shape = section.representation
    if isinstance(shape, VertexOffsetsSection):
        return min(shape.max_faces, recipe.mesh.max_faces)
    per_square = _FACES_PER_SQUARE
    if isinstance(shape, FlexicubesSection):
        per_square *= _DUAL_FACES
    return per_square * shape.resolution**2


def _sphere(recipe: Recipe, points_per_axis: int) -> Start:
    """Return a sphere as the start, with as many triangles as a lattice gives it."""
    ball = recipe.bounding_radius
    positions = lattice(points_per_axis, ball, torch.device("cpu"))

    def distances(points: Tensor) -> Tensor:
        return points.norm(dim=-1) - _SPHERE * ball

    return Start(
        surface=marching_tetrahedra(distances(positions), positions),
        distances=distances,
        colors=lambda points: torch.full_like(points, 0.5),
        bounding_radius=ball,
    )


def _without_detail(section: RefineSection, points_per_axis: int | None = None) -> RefineSection:
    """Return a refinement with a tiny texture and, if given, another lattice."""
    match section.texture:
        case GridTextureSection():
            small = {"resolution": _COUNTED_TEXTURE}
        case HashGridTextureSection(start_resolution=start):
            small = {"start_resolution": start and _COUNTED_TEXTURE, "log2_table_size": 6}
        case _:
            assert_never(section.texture)
    texture = section.texture.model_copy(update=small)
    material = section.material
    if material is not None:
        parts = {"roughness": material.roughness, "metallic": material.metallic}
        coarse = {
            name: part.model_copy(update={"resolution": _COUNTED_TEXTURE})
            for name, part in parts.items()
            if isinstance(part, GridValueSection)
        }
        material = material.model_copy(update=coarse)
    shape = section.representation
    if points_per_axis is not None and not isinstance(shape, VertexOffsetsSection):
        shape = shape.model_copy(update={"resolution": points_per_axis})
    return section.model_copy(
        update={"texture": texture, "material": material, "representation": shape}
    )


def _stored(
    recipe: Recipe, section: RefineSection, phase: RefinePhaseSection
) -> tuple[int, int, int]:
    """Return the bytes of parameters and buffers, of those learned, and of the optimiser's state.

    An optimiser keeps a fixed number of tensors of each parameter's size, which a small model
    tells; Adam's counters are a few bytes.
    """
    small = SurfaceModel(_without_detail(section, _COUNTED_TEXTURE), _sphere(recipe, 8), seed=0)
    trainee = SurfaceTrainee(phase, small, _grey)
    optimizer = build_optimizer(phase.optimize, trainee.parameter_groups())
    learned = [p for p in small.parameters() if p.requires_grad]
    for parameter in learned:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    ratio = sum(value.nbytes for value in optimizer_tensors(optimizer).values())
    ratio /= sum(p.nbytes for p in learned)
    faces = _num_faces(recipe, section)
    with torch.device("meta"):
        surface = Surface(
            torch.empty(round(faces / 2), 3), torch.empty(round(faces), 3, dtype=torch.int64)
        )
        shape = build_representation(
            section.representation,
            Start(
                surface=surface,
                distances=lambda points: torch.empty(len(points)),
                colors=torch.empty_like,
                bounding_radius=recipe.bounding_radius,
            ),
        )
    texture = 4 * section.num_appearance_parameters
    # The coarse colours beneath a hash grid; a grid itself is made of them.
    under_hash = isinstance(section.texture, HashGridTextureSection)
    beneath = 4 * 3 * section.texture.lattice_resolution**3 if under_hash else 0
    stored = sum(value.nbytes for value in [*shape.parameters(), *shape.buffers()])
    size = 0
    if "geometry" in phase.parts:
        size += sum(p.nbytes for p in shape.parameters() if p.requires_grad)
    if "texture" in phase.parts:
        size += texture
    return stored + texture + beneath, size, round(ratio * size)


def _extraction(recipe: Recipe, section: RefineSection, phase: RefinePhaseSection) -> _Extraction:
    """Return the memory of building the surface from its parameters."""
    points = section.representation.lattice_resolution
    if points == 0:
        return _Extraction(0.0, 0.0, 0.0)  # vertices plus offsets: counted with the drawing
    if points <= _MOST_POINTS_PER_AXIS:
        return _count_extraction(recipe, section, phase, points)
    half, most = _MOST_POINTS_PER_AXIS // 2, _MOST_POINTS_PER_AXIS
    near, far = (_count_extraction(recipe, section, phase, size) for size in (half, most))

    def extended(name: str) -> float:
        """Solve a n^2 + b n^3 through both counts."""
        small, large = getattr(near, name) / half**2, getattr(far, name) / most**2
        slope = (large - small) / (most - half)
        return points**2 * (large + slope * (points - most))

    return _Extraction(*(extended(name) for name in ("kept", "forward", "backward")))


def _count_extraction(
    recipe: Recipe, section: RefineSection, phase: RefinePhaseSection, points: int
) -> _Extraction:
    model = SurfaceModel(_without_detail(section, points), _sphere(recipe, 8), seed=0)
    if "geometry" not in phase.parts:  # extracted once, without a graph
        with LiveMemory() as memory, torch.no_grad():
            surface = model.surface()
            kept = surface.vertices.nbytes + surface.faces.nbytes
        return _Extraction(kept, memory.peak_bytes, 0.0)
    with LiveMemory() as memory:
        found = model.regularized()
        kept, forward = memory.alive_bytes, memory.peak_bytes
        memory.peak_bytes = memory.alive_bytes
        penalty = torch.zeros(()) if found.penalty is None else found.penalty
        (found.surface.vertices.sum() + penalty).backward()
        backward = memory.peak_bytes - kept
    return _Extraction(kept, forward, backward)


def _drawing(recipe: Recipe, section: RefineSection, phase: RefinePhaseSection) -> _Drawing:
    """Return the memory of the pictures of a step, forward and backward, and of a preview."""
    views = phase.optimize.batch_size
    counted_views = min(views, _MOST_VIEWS)
    side = phase.camera.largest_image_size_px
    faces = _num_faces(recipe, section)
    pixels = counted_views * (side * phase.supersampling) ** 2
    share = min(1.0, _MOST_PIXELS / pixels, _MOST_FACES / (counted_views * faces))
    points = max(_FEWEST_POINTS_PER_AXIS, round((share * faces / _FACES_PER_SQUARE) ** 0.5))
    small_side = max(_SMALLEST_VIEW_PX, round(share**0.5 * side))
    counted = _count_drawing(recipe, section, phase, points, small_side, counted_views, share)
    factor = views / counted_views / share
    # A preview keeps no graph; what it holds at once is less than one would.
    preview_side = phase.camera.preview_image_size_px
    part = _NUM_PREVIEWS * preview_side**2 / (counted_views * side**2)
    return _Drawing(
        kept=factor * counted.kept,
        forward=factor * counted.forward,
        backward=factor * counted.backward,
        preview=part * counted.preview / share,
    )


def _count_drawing(
    recipe: Recipe,
    section: RefineSection,
    phase: RefinePhaseSection,
    points: int,
    side: int,
    views: int,
    share: float,
) -> _Drawing:
    """Count one step on a sphere of as many triangles as `points` lattice points give."""
    leaf = VertexOffsetsSection(
        kind="vertex_offsets", max_faces=10**7, learning_rate=1.0, smoothing_lambda=0.0
    )
    small = _without_detail(section).model_copy(update={"representation": leaf})
    model = SurfaceModel(small, _sphere(recipe, points), seed=0)
    trainee = SurfaceTrainee(phase, model, _grey)
    camera = phase.camera
    cameras = _cameras(side, views, radius=camera.radius_range[0], focal=camera.focal_range[1])
    lighting = _lamp(phase.shading, cameras)
    with LiveMemory() as memory:
        step = trainee.training_views(cameras, lighting, 0, partial(seeding.generator, 0))
        penalties = sum(step.penalties().values(), torch.zeros(()))
        kept = memory.alive_bytes
        memory.peak_bytes = kept
        (step.output.image.sum() + penalties).backward()
        backward = memory.peak_bytes
    fine_side = side * phase.supersampling
    fine = replace(cameras, height_px=fine_side, width_px=fine_side)
    at_once = max(_FEWEST_PAIRS, round(share * PAIRS_AT_ONCE))
    with LiveMemory() as memory:
        visible_faces(model.surface(), fine, pairs_at_once=at_once)
        visible = memory.peak_bytes
    return _Drawing(kept, max(kept, visible), backward, max(kept, visible))


def _grey(rays: Rays, generator: torch.Generator) -> Tensor:
    return torch.full_like(rays.origins, 0.5)


def _cameras(side: int, views: int, *, radius: float, focal: float) -> Cameras:
    return orbit_cameras(
        torch.linspace(0, 360, views + 1)[:views],
        elevation_deg=20.0,
        radius=radius,
        fov_y_deg=float(fov_y_from_focal(torch.tensor([focal]))),
        image_size_px=side,
    )


def _lamp(shading: ShadingSection, cameras: Cameras) -> Lighting:
    return headlight(cameras, ambient=shading.ambient, diffuse=shading.diffuse, textureless=False)
