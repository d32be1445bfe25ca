"""The toybox's training renders: premultiplied RGBA, so that backgrounds are drawn later.

One file holds `rgba` (uint8, `images h w 4`), the index of each image's object and colour
(-1 if it is textureless) and its camera's azimuth and elevation. Captions and
backgrounds are drawn again for every batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dreamfusion_kit.camera.light import sample_lighting
from dreamfusion_kit.camera.sampler import sample_cameras
from dreamfusion_kit.command_name import command_name
from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.recipe.schema import PlainBackgroundSection
from dreamfusion_kit.renderer.background import sample_background
from dreamfusion_kit.seeding import generator as make_generator
from dreamfusion_kit.toybox.captions import HELD_OUT, training_caption, view_words
from dreamfusion_kit.toybox.render import render_premultiplied
from dreamfusion_kit.toybox.settings import DatasetSection
from dreamfusion_kit.toybox.shapes import COLORS, OBJECTS, scene

_CHUNK = 16  # images traced at once: the working set stays in cache


@dataclass(frozen=True)
class Dataset:
    """Renders and what is known about each."""

    rgba: UInt8[Tensor, "images h w 4"]
    object_index: Int[Tensor, " images"]
    color_index: Int[Tensor, " images"]
    azimuth_deg: Float[Tensor, " images"]
    elevation_deg: Float[Tensor, " images"]

    def __len__(self) -> int:
        return len(self.rgba)

    def images(
        self,
        indices: Int[Tensor, " batch"],
        background: PlainBackgroundSection,
        *,
        generator: torch.Generator,
    ) -> Float[Tensor, "batch h w 3"]:
        """Return the chosen renders, each over its own background, in [0, 1]."""
        rgba = self.rgba[indices].float() / 255
        height, width = rgba.shape[1:3]
        behind = sample_background(background, len(indices), height, width, generator=generator)
        return rgba[..., :3] + (1 - rgba[..., 3:]) * behind

    def captions(self, indices: Int[Tensor, " batch"], *, generator: torch.Generator) -> list[str]:
        """Draw a caption for each of the chosen renders."""
        return [self._caption(int(index), generator) for index in indices]

    def _caption(self, index: int, generator: torch.Generator) -> str:
        color_index = int(self.color_index[index])
        color = None if color_index < 0 else tuple(COLORS)[color_index]
        words = view_words(float(self.azimuth_deg[index]), float(self.elevation_deg[index]))
        name = OBJECTS[int(self.object_index[index])]
        return training_caption(color, name, words, generator=generator)


def training_pairs() -> list[tuple[str, str]]:
    """Return the (colour, object) pairs that may be rendered for training."""
    pairs = [(color, name) for name in OBJECTS for color in COLORS]
    return [pair for pair in pairs if pair not in HELD_OUT]


def render_dataset(
    settings: DatasetSection, *, report: Callable[[int, int], None] = lambda done, total: None
) -> Dataset:
    """Render every training pair; a pair's cameras depend only on the seed and its name."""
    pairs = training_pairs()
    parts: list[Dataset] = []
    for number, (color, name) in enumerate(pairs):
        for chunk in range(0, settings.images_per_pair, _CHUNK):
            count = min(_CHUNK, settings.images_per_pair - chunk)
            parts.append(_render_chunk(settings, color, name, chunk, count))
        report(number + 1, len(pairs))
    return merged(parts)


def merged(parts: Sequence[Dataset]) -> Dataset:
    """Return all renders of several data sets, concatenated."""
    return Dataset(
        *(torch.cat([getattr(part, key) for part in parts]) for key in Dataset.__annotations__)
    )


def _render_chunk(
    settings: DatasetSection, color: str, name: str, chunk: int, count: int
) -> Dataset:
    draw = make_generator(settings.seed, f"dataset/{color}/{name}", chunk)
    cameras = sample_cameras(settings.camera, count, generator=draw)
    lighting = sample_lighting(
        settings.light,
        settings.shading,
        cameras,
        step=settings.shading.albedo_only_steps,
        generator=draw,
    )
    colors, opacity = render_premultiplied(scene(name, color), cameras, lighting)
    rgba = torch.cat([colors, opacity[..., None]], dim=-1)
    color_index = torch.full((count,), tuple(COLORS).index(color))
    return Dataset(
        rgba=(rgba * 255).round().clamp(0, 255).to(torch.uint8),
        object_index=torch.full((count,), OBJECTS.index(name)),
        color_index=torch.where(lighting.textureless, -1, color_index),
        azimuth_deg=cameras.azimuth_deg,
        elevation_deg=cameras.elevation_deg,
    )


def save_dataset(dataset: Dataset, path: Path) -> None:
    """Write the data set as one safetensors file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: getattr(dataset, key) for key in Dataset.__annotations__}, path)


def load_dataset(path: Path) -> Dataset:
    """Read a data set written by `save_dataset`.

    Raises:
        DreamFusionKitError: if it is missing or damaged.
    """
    try:
        return Dataset(**load_file(path))
    except (OSError, SafetensorError, TypeError) as error:  # TypeError: other tensors
        reason = str(error).partition("\n")[0]
        raise DreamFusionKitError(
            f"{path}: cannot be read ({reason}), expected rendered images; "
            f"run `{command_name()} toybox render`"
        ) from error
