"""The toybox's little English: colours, objects, views and plaster.

The canonical caption is "a red mug"; with a view, "a red mug, front view", the form that
view-dependent prompting makes (DreamFusion, s. 3.2). Training mixes in other phrasings,
so that the words rather than one template carry the meaning.
"""

import re
from collections.abc import Sequence

import torch

from dreamfusion_kit.toybox.shapes import COLORS, OBJECTS

VIEWS = ("front", "side", "back", "overhead")
_SIDES = ("left", "right")  # the object's own: from its left, its front points to the left

_PHRASINGS = (
    "{subject}",
    "a photo of {subject}",
    "a picture of {subject}",
    "a 3d model of {subject}",
    "the {color} {object}",
    "a toy {object} in {color}",
    "{view} view of {subject}",
)
CANONICAL_PROBABILITY = 0.6
VIEW_PROBABILITY = 0.85
SIDE_PROBABILITY = 0.75  # the share of side views whose caption says which side it is
NUM_PHRASINGS = len(_PHRASINGS)

HELD_OUT: frozenset[tuple[str, str]] = frozenset(
    (tuple(COLORS)[(4 * index + 2) % len(COLORS)], name) for index, name in enumerate(OBJECTS)
)
"""(colour, object) pairs never rendered for training: one colour of each object."""


def article(word: str) -> str:
    """Return "an" before a vowel, else "a"."""
    return "an" if word[0] in "aeiou" else "a"


def caption(color: str, object_name: str) -> str:
    """Return the canonical caption of a pair, for example "a red mug"."""
    return f"{article(color)} {color} {object_name}"


def plaster_caption(object_name: str) -> str:
    """Return the caption of a textureless render."""
    return f"a white plaster {object_name}"


def caption_pool() -> tuple[str, ...]:
    """Return the canonical captions of every pair, objects first: the retrieval pool."""
    return tuple(caption(color, name) for name in OBJECTS for color in COLORS)


def corpus() -> tuple[str, ...]:
    """Return every training caption of every pair, for the tokenizer.

    "Left" and "right" were added later and are not among them: more words would renumber the
    tokens of the shipped weights. They are spelled letter by letter.
    """
    lines: list[str] = []
    for name in OBJECTS:
        for view in VIEWS:
            lines.append(f"{plaster_caption(name)}, {view} view")
            for color in COLORS:
                subject = caption(color, name)
                for phrasing in _PHRASINGS:
                    text = phrasing.format(subject=subject, color=color, object=name, view=view)
                    lines.append(f"{text}, {view} view")
    return tuple(lines)


def parse(prompt: str) -> tuple[str, str] | None:
    """Return (colour, object) of a canonical caption, or None for any other prompt."""
    match = re.fullmatch(r"an? (\w+) (\w+)", prompt.strip().lower())
    if match is None or match[1] not in COLORS or match[2] not in OBJECTS:
        return None
    return match[1], match[2]


def names_object(prompt: str) -> bool:
    """Return whether one of the words is one of the toybox's objects."""
    return not set(OBJECTS).isdisjoint(re.findall(r"\w+", prompt.lower()))


_ATTRIBUTES: tuple[tuple[str, ...], ...] = (tuple(COLORS), OBJECTS, VIEWS, _SIDES)


def attributes(text: str) -> tuple[int, ...]:
    """Return what a training caption says: colour, object, view and side, each as an index.

    The index after the last means "not said": no colour for plaster, no view if the caption
    names none.
    """
    words = re.findall(r"\w+", text)
    return tuple(_named(names, words) for names in _ATTRIBUTES)


NUM_ATTRIBUTES = tuple(len(names) + 1 for names in _ATTRIBUTES)
"""How many values each of `attributes` can take."""


def _named(names: Sequence[str], words: Sequence[str]) -> int:
    """Return the index of the one name among `words`, or the number of names if there is none."""
    return next((index for index, name in enumerate(names) if name in words), len(names))


def view_of(azimuth_deg: float, elevation_deg: float) -> str:
    """Return the view word of a camera: overhead above 60 degrees, else the azimuth's quadrant."""
    if elevation_deg > 60:
        return "overhead"
    from_front = abs((azimuth_deg + 180) % 360 - 180)
    return "front" if from_front <= 45 else "back" if from_front >= 135 else "side"


def view_words(azimuth_deg: float, elevation_deg: float) -> str:
    """Return the view word of a camera; a side is preceded by the object's left or right."""
    view = view_of(azimuth_deg, elevation_deg)
    if view != "side":
        return view
    return "left side" if azimuth_deg % 360 < 180 else "right side"


def training_caption(
    color: str | None, object_name: str, words: str, *, generator: torch.Generator
) -> str:
    """Draw a phrasing for a render with these `view_words`; `color` None means textureless.

    Most captions are canonical, most name the view, and most side views say which side it is;
    view words appear only where they are true.
    """
    draw = torch.rand(4, generator=generator).tolist()
    view = words if draw[3] < SIDE_PROBABILITY else words.split()[-1]
    phrasing = 0 if draw[0] < CANONICAL_PROBABILITY else int(draw[2] * NUM_PHRASINGS)
    return phrased(color, object_name, view, phrasing, names_view=draw[1] < VIEW_PROBABILITY)


def phrased(
    color: str | None, object_name: str, view: str, phrasing: int, *, names_view: bool
) -> str:
    """Return a caption by its parts; phrasing 0 is canonical, and plaster has no other."""
    subject = plaster_caption(object_name) if color is None else caption(color, object_name)
    named_view = f", {view} view" if names_view else ""
    if color is None:
        return subject + named_view
    template = _PHRASINGS[phrasing]
    text = template.format(subject=subject, color=color, object=object_name, view=view)
    return text if "{view}" in template else text + named_view
