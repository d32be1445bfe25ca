"""Samples of the prior that its measures and its sample sheet share.

An evaluation of the prior spends its time on sampling. So every prompt names a view, as
guidance's prompts do, and one image serves to measure the caption, the view and the
distribution at once. In each of `ROUNDS` rounds every object has a different colour, and the
views rotate from round to round: together they ask for every (colour, object) pair once.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion_kit.toybox.captions import caption
from dreamfusion_kit.toybox.prior_model import ToyboxPrior
from dreamfusion_kit.toybox.shapes import COLORS, DISTINCT_SIDES, OBJECTS

LEFT_RIGHT = ("left side", "right side")
SAMPLED_VIEWS = ("front", *LEFT_RIGHT, "back")
ROUNDS = len(COLORS)


@dataclass(frozen=True)
class Prompt:
    """A pair, the requested side, and the round it belongs to."""

    color: str
    object_name: str
    view: str
    round_index: int

    @property
    def text(self) -> str:
        """Return the prompt, for example "a red mug, front view"."""
        return f"{caption(self.color, self.object_name)}, {self.view} view"

    @property
    def is_in_turn(self) -> bool:
        """Return whether the view is the one that its round asks of every pair."""
        return self.view == SAMPLED_VIEWS[self.round_index % len(SAMPLED_VIEWS)]


@dataclass(frozen=True)
class Samples:
    """Prompts and one image for each."""

    prompts: tuple[Prompt, ...]
    images: Float[Tensor, "prompts h w 3"]

    def where(self, choose: Callable[[Prompt], bool]) -> "Samples":
        """Return the samples whose prompt is chosen."""
        kept = [index for index, prompt in enumerate(self.prompts) if choose(prompt)]
        return Samples(tuple(self.prompts[index] for index in kept), self.images[kept])


def sample_prior(
    prior: ToyboxPrior,
    *,
    guidance_scale: float,
    num_steps: int,
    every_side: bool,
    report: Callable[[int], None],
) -> Samples:
    """Draw one image per prompt; `report` gets the number of each finished batch.

    Every pair is asked for once, and the first round's pairs from every side. `every_side`
    asks for all sides in all rounds, for objects that have distinct ones. In the first
    round an object has the same noise for every side and guidance scale: the sheet compares
    like with like.
    """
    prompts: list[Prompt] = []
    images: list[Tensor] = []
    for batch in prompt_batches(every_side=every_side):
        texts = [prompt.text for prompt in batch]
        drawn = prior.sample(
            texts, guidance_scale=guidance_scale, num_steps=num_steps, seed=batch[0].round_index
        )
        prompts += batch
        images.append(drawn.cpu())
        report(len(batch))
    return Samples(tuple(prompts), torch.cat(images))


def prompt_batches(*, every_side: bool) -> Iterator[list[Prompt]]:
    """Yield the prompts of one round and one side, objects in their order."""
    for round_index in range(ROUNDS):
        for view in SAMPLED_VIEWS:
            batch = [
                Prompt(tuple(COLORS)[(index + round_index) % ROUNDS], name, view, round_index)
                for index, name in enumerate(OBJECTS)
            ]
            if round_index == 0 or batch[0].is_in_turn:
                yield batch
            elif every_side:
                yield [prompt for prompt in batch if prompt.object_name in DISTINCT_SIDES]
