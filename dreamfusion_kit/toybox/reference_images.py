"""True renders that the prior's samples are compared with."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.recipe.schema import ConstantBackgroundSection
from dreamfusion_kit.toybox.fresh_renders import fresh_renders
from dreamfusion_kit.toybox.samples import LEFT_RIGHT, Samples, prompt_batches
from dreamfusion_kit.toybox.settings import ToyboxSettings
from dreamfusion_kit.toybox.shapes import COLORS

ONE_SIDED = ("chair", "duck")  # their left and right outlines are mirror images
_RENDERS_PER_MEAN = 8
_GREY = ConstantBackgroundSection(kind="constant", color=(0.575, 0.575, 0.575))  # the prior's mean
_RENDERS_PER_PAIR = 9  # one for the set in the samples' place, the rest for the reference

Pair = tuple[str, str]  # colour, object
Progress = Callable[[str, int], Callable[[int], None]]
"""Opens a count of images, by its name and total; what it returns adds to it."""


def true_renders(sections: ToyboxSettings, progress: Progress) -> tuple[Samples, Samples]:
    """Return the reference set, and a set to measure in the samples' place: one image per pair.

    Both show every pair from the side that is requested of the samples.
    """
    prompts = [
        prompt
        for batch in prompt_batches(every_side=False)
        for prompt in batch
        if prompt.is_in_turn
    ]
    report = progress("true renders", len(prompts) * _RENDERS_PER_PAIR)
    renders: list[Tensor] = []
    for prompt in prompts:
        images = fresh_renders(
            sections.dataset,
            sections.prior.background,
            color=prompt.color,
            object_name=prompt.object_name,
            view=prompt.view,
            count=_RENDERS_PER_PAIR,
        )
        renders.append(images)
        report(len(images))
    stacked = torch.stack(renders)
    repeated = tuple(prompt for prompt in prompts for _ in range(_RENDERS_PER_PAIR - 1))
    reference = Samples(repeated, stacked[:, 1:].flatten(0, 1))
    return reference, Samples(tuple(prompts), stacked[:, 0])


def mean_side_views(
    sections: ToyboxSettings, progress: Progress
) -> dict[Pair, Float[Tensor, "2 h w 3"]]:
    """Return the mean picture of each one-sided object in each colour from its left and right.

    All have the same grey background, so the two differ only in the object.
    """
    pairs = [(color, name) for name in ONE_SIDED for color in COLORS]
    report = progress("mean side views", len(pairs))

    def mean_view(pair: Pair, view: str) -> Float[Tensor, "h w 3"]:
        color, name = pair
        images = fresh_renders(
            sections.dataset,
            _GREY,
            color=color,
            object_name=name,
            view=view,
            count=_RENDERS_PER_MEAN,
        )
        return images.mean(dim=0)

    means: dict[Pair, Float[Tensor, "2 h w 3"]] = {}
    for pair in pairs:
        means[pair] = torch.stack([mean_view(pair, view) for view in LEFT_RIGHT])
        report(1)
    return means
