"""All training captions by number, so that a batch's captions are drawn on its own device.

The draw has the distribution of `captions.training_caption`; here each of its choices is an
axis of a table, and an entry is the number of a caption.
"""

import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion_kit.toybox.captions import (
    CANONICAL_PROBABILITY,
    NUM_PHRASINGS,
    SIDE_PROBABILITY,
    VIEW_PROBABILITY,
    phrased,
)
from dreamfusion_kit.toybox.shapes import COLORS, OBJECTS

VIEW_WORDS = ("front", "left side", "right side", "back", "overhead", "side")
"""What `captions.view_words` can say, and "side", which does not say which."""

_SIDE = VIEW_WORDS.index("side")


@dataclass(frozen=True)
class CaptionTable:
    """The distinct captions, the empty one first, and their numbers by what they say."""

    captions: tuple[str, ...]
    numbers: Int[Tensor, "colors objects views phrasings 2"]

    def to(self, device: torch.device) -> "CaptionTable":
        """Return the table with its numbers on a device."""
        return CaptionTable(self.captions, self.numbers.to(device))

    def draw(
        self,
        color_index: Int[Tensor, " batch"],
        object_index: Int[Tensor, " batch"],
        view_index: Int[Tensor, " batch"],
        *,
        dropout: float,
        generator: torch.Generator,
    ) -> Int[Tensor, " batch"]:
        """Draw a caption's number for each image; a share `dropout` gets the empty caption.

        `color_index` is -1 for textureless images; `view_index` counts in `VIEW_WORDS`.
        """
        batch = len(color_index)
        unit = torch.rand(5, batch, generator=generator, device=generator.device)
        is_side = (view_index > 0) & (view_index < 3)
        says_which = unit[3] < SIDE_PROBABILITY
        view = torch.where(is_side & ~says_which, _SIDE, view_index)
        other = (unit[2] * NUM_PHRASINGS).long()
        phrasing = torch.where(unit[0] < CANONICAL_PROBABILITY, 0, other)
        names_view = (unit[1] < VIEW_PROBABILITY).long()
        numbers = self.numbers[color_index, object_index, view, phrasing, names_view]
        return torch.where(unit[4] < dropout, 0, numbers)


def caption_table() -> CaptionTable:
    """Return the table of all captions; the last colour, also index -1, is textureless."""
    axes = ((*COLORS, None), OBJECTS, VIEW_WORDS, range(NUM_PHRASINGS), (False, True))
    known = {"": 0}
    numbers = [
        known.setdefault(phrased(color, name, view, phrasing, names_view=named), len(known))
        for color, name, view, phrasing, named in itertools.product(*axes)
    ]
    return CaptionTable(tuple(known), torch.tensor(numbers).reshape([len(axis) for axis in axes]))


def view_index(
    azimuth_deg: Float[Tensor, " batch"], elevation_deg: Float[Tensor, " batch"]
) -> Int[Tensor, " batch"]:
    """Return `captions.view_words` of cameras as indices into `VIEW_WORDS`."""
    from_front = ((azimuth_deg + 180) % 360 - 180).abs()
    side = torch.where(azimuth_deg % 360 < 180, 1, 2)
    view = torch.where(from_front <= 45, 0, torch.where(from_front >= 135, 3, side))
    return torch.where(elevation_deg > 60, 4, view)
