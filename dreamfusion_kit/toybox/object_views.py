"""Renders of several views of one object, as the multi-view prior learns from them.

Shelf n depends on the seed and n alone, so that a resumed training renders the one at which it
stopped.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from dreamfusion_kit.camera.light import sample_lighting
from dreamfusion_kit.camera.sampler import sample_cameras
from dreamfusion_kit.priors.network.multi_view import camera_rows
from dreamfusion_kit.recipe.schema import PlainBackgroundSection
from dreamfusion_kit.renderer.background import sample_background
from dreamfusion_kit.seeding import generator as make_generator
from dreamfusion_kit.toybox.captions import HELD_OUT, caption, plaster_caption, view_words
from dreamfusion_kit.toybox.multi_view_settings import MultiViewTrainingSection
from dreamfusion_kit.toybox.render import render_premultiplied
from dreamfusion_kit.toybox.shapes import COLORS, OBJECTS, scene


@dataclass(frozen=True)
class ObjectViews:
    """Premultiplied RGBA of every object's views, their cameras, and each object's caption.

    `words` name each view as the single-view prior's captions do.
    """

    rgba: UInt8[Tensor, "objects views h w 4"]
    cameras: Float[Tensor, "objects views 16"]
    captions: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]

    def images(
        self,
        objects: Int[Tensor, " batch"],
        background: PlainBackgroundSection,
        *,
        generator: torch.Generator,
    ) -> Float[Tensor, "images h w 3"]:
        """Return the chosen objects' views one after the other, each over its own background."""
        rgba = self.rgba[objects].flatten(0, 1).float() / 255
        count, height, width, _ = rgba.shape
        behind = sample_background(background, count, height, width, generator=generator)
        return rgba[..., :3] + (1 - rgba[..., 3:]) * behind


def render_object_views(
    settings: MultiViewTrainingSection, number: int, *, device: torch.device
) -> ObjectViews:
    """Render shelf `number`: objects by their weights, each in one of its trained colours."""
    draw = make_generator(settings.seed, "object-views", number, device=device)
    weights = torch.tensor([settings.object_weights[name] for name in OBJECTS], device=device)
    chosen = torch.multinomial(
        weights, settings.objects_per_shelf, replacement=True, generator=draw
    )
    rgba: list[Tensor] = []
    cameras: list[Tensor] = []
    captions: list[str] = []
    words: list[tuple[str, ...]] = []
    for index in chosen.tolist():
        name = OBJECTS[index]
        colors = [color for color in COLORS if (color, name) not in HELD_OUT]
        color = colors[int(torch.randint(len(colors), (), generator=draw, device=device))]
        seen = sample_cameras(settings.camera, settings.num_views, generator=draw)
        step = settings.shading.albedo_only_steps
        lighting = sample_lighting(settings.light, settings.shading, seen, step, generator=draw)
        image, opacity = render_premultiplied(scene(name, color), seen, lighting)
        pixels = torch.cat([image, opacity[..., None]], dim=-1)
        rgba.append((pixels * 255).round().clamp(0, 255).to(torch.uint8))
        cameras.append(camera_rows(seen))
        is_plaster = bool(lighting.textureless[0])
        captions.append(plaster_caption(name) if is_plaster else caption(color, name))
        orbits = zip(seen.azimuth_deg.tolist(), seen.elevation_deg.tolist(), strict=True)
        words.append(tuple(view_words(*orbit) for orbit in orbits))
    return ObjectViews(torch.stack(rgba), torch.stack(cameras), tuple(captions), tuple(words))
