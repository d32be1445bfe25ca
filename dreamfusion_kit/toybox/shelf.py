"""A shelf of renders: what a training draws its batches from until the next shelf is rendered.

Shelf n depends on the seed and n alone, so a resumed training renders the one shelf that it
stopped at. All is drawn and traced on one device.
"""

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion_kit.camera.light import sample_lighting
from dreamfusion_kit.camera.sampler import sample_cameras
from dreamfusion_kit.seeding import generator as make_generator
from dreamfusion_kit.toybox.captions import HELD_OUT
from dreamfusion_kit.toybox.dataset import Dataset, merged
from dreamfusion_kit.toybox.latent_settings import ShelfSection
from dreamfusion_kit.toybox.render import render_premultiplied
from dreamfusion_kit.toybox.shapes import COLORS, OBJECTS, scene

_CPU_CHUNK, _GPU_CHUNK = 8 * 128**2, 256 * 128**2  # pixels per trace: few stay in a CPU's cache

Shelf = TypeVar("Shelf")


class Shelves(Generic[Shelf]):
    """The shelf of each step. One is kept, until a step asks for the next."""

    def __init__(self, make: Callable[[int], Shelf], steps_per_shelf: int) -> None:
        """`make` returns a shelf by its number."""
        self._make, self._steps_per_shelf = make, steps_per_shelf
        self._kept: tuple[int, Shelf] | None = None

    def at(self, step: int) -> Shelf:
        """Return the shelf that serves a step."""
        number = step // self._steps_per_shelf
        if self._kept is None or self._kept[0] != number:
            self._kept = None  # frees its memory before another is made
            self._kept = number, self._make(number)
        return self._kept[1]


def render_shelf(settings: ShelfSection, number: int, *, device: torch.device) -> Dataset:
    """Render shelf `number`: objects by their weights, each in its trained colours.

    One pass of the tracer serves all colours of an object.
    """
    draw = make_generator(settings.seed, "shelf", number, device=device)
    pixels = _CPU_CHUNK if device.type == "cpu" else _GPU_CHUNK
    chunk = max(1, pixels // settings.camera.largest_image_size_px**2)
    parts = [
        _render(settings, name, min(chunk, count - start), draw)
        for name, count in _counts(settings, draw)
        for start in range(0, count, chunk)
    ]
    return merged(parts)


def _counts(settings: ShelfSection, draw: torch.Generator) -> Iterator[tuple[str, int]]:
    """Yield each object and its number of renders: its share, rounded at random."""
    weights = torch.tensor([settings.object_weights[name] for name in OBJECTS], device=draw.device)
    ends = weights.cumsum(0) / weights.sum() * settings.shelf_size
    offset = torch.rand((), generator=draw, device=draw.device)
    ends = (ends + offset).floor().long().tolist()
    ends[-1] = settings.shelf_size
    for name, start, end in zip(OBJECTS, [0, *ends], ends, strict=False):
        if end > start:
            yield name, end - start


def _render(settings: ShelfSection, name: str, count: int, draw: torch.Generator) -> Dataset:
    cameras = sample_cameras(settings.camera, count, generator=draw)
    step = settings.shading.albedo_only_steps
    lighting = sample_lighting(settings.light, settings.shading, cameras, step, generator=draw)
    color_index = _trained_colors(name, count, draw)
    colors, opacity = render_premultiplied(
        scene(name, next(iter(COLORS))),
        cameras,
        lighting,
        _palettes(name).to(draw.device)[color_index],
    )
    rgba = torch.cat([colors, opacity[..., None]], dim=-1)
    return Dataset(
        rgba=(rgba * 255).round().clamp(0, 255).to(torch.uint8),
        object_index=torch.full_like(color_index, OBJECTS.index(name)),
        color_index=torch.where(lighting.textureless, -1, color_index),
        azimuth_deg=cameras.azimuth_deg,
        elevation_deg=cameras.elevation_deg,
    )


def _trained_colors(name: str, count: int, draw: torch.Generator) -> Int[Tensor, " images"]:
    """Draw colours in which the object is not held out."""
    kept = [index for index, color in enumerate(COLORS) if (color, name) not in HELD_OUT]
    choice = torch.randint(len(kept), (count,), generator=draw, device=draw.device)
    return torch.tensor(kept, device=draw.device)[choice]


def _palettes(name: str) -> Float[Tensor, "colors parts 3"]:
    return torch.stack([scene(name, color).palette() for color in COLORS])
