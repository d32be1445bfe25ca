"""The sheet of the prior's samples: objects across, views and guidance scales down."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from dreamfusion_kit.toybox.samples import SAMPLED_VIEWS, Samples
from dreamfusion_kit.toybox.shapes import OBJECTS

_GAP_PX = 2
_GROUP_GAP_PX = 8  # between guidance scales
_LEFT_PX, _TOP_PX = 124, 18
_FONT_SIZE_PX = 12
_PAPER, _INK = (255, 255, 255), (30, 30, 30)


def draw_sheet(by_scale: Mapping[float, Samples]) -> Image.Image:
    """Return the first round of the samples of every guidance scale, labelled."""
    size = next(iter(by_scale.values())).images.shape[1]
    cell = size + _GAP_PX
    height = _TOP_PX + len(by_scale) * (len(SAMPLED_VIEWS) * cell + _GROUP_GAP_PX)
    sheet = Image.new("RGB", (_LEFT_PX + len(OBJECTS) * cell, height), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_SIZE_PX)
    for column, name in enumerate(OBJECTS):
        middle = _LEFT_PX + column * cell + size / 2
        pen.text((middle, _TOP_PX / 2), name, _INK, font, anchor="mm")
    for group, (scale, samples) in enumerate(by_scale.items()):
        for row, view in enumerate(SAMPLED_VIEWS):
            top = _TOP_PX + group * (len(SAMPLED_VIEWS) * cell + _GROUP_GAP_PX) + row * cell
            label = f"{view}, CFG {scale:g}"
            pen.text((_LEFT_PX - 6, top + size / 2), label, _INK, font, anchor="rm")
            for column, name in enumerate(OBJECTS):
                picture = _picture(_first(samples, name, view))
                sheet.paste(picture, (_LEFT_PX + column * cell, top))
    return sheet


def _first(samples: Samples, object_name: str, view: str) -> Float[Tensor, "h w 3"]:
    """Return the first round's sample of an object from a side."""
    chosen = samples.where(
        lambda prompt: (
            (prompt.round_index, prompt.object_name, prompt.view) == (0, object_name, view)
        )
    )
    return chosen.images[0]


def _picture(image: Float[Tensor, "h w 3"]) -> Image.Image:
    return Image.fromarray((image * 255).round().to(torch.uint8).numpy())
