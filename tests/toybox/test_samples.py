"""The sampling plan asks every question once; samples keep to their prompts."""

from collections import Counter

import pytest
import torch

from dreamfusion_kit.toybox.captions import caption_pool
from dreamfusion_kit.toybox.prior_model import ToyboxPrior
from dreamfusion_kit.toybox.samples import SAMPLED_VIEWS, Prompt, prompt_batches, sample_prior
from dreamfusion_kit.toybox.settings import PriorTrainingSection
from dreamfusion_kit.toybox.shapes import DISTINCT_SIDES, OBJECTS


def prompts(*, every_side: bool) -> list[Prompt]:
    return [prompt for batch in prompt_batches(every_side=every_side) for prompt in batch]


@pytest.mark.parametrize("every_side", [False, True])
def test_prompts_in_turn_name_every_pair_once_and_the_views_about_equally_often(
    every_side: bool,
) -> None:
    in_turn = [prompt for prompt in prompts(every_side=every_side) if prompt.is_in_turn]
    named = sorted(prompt.text.rpartition(", ")[0] for prompt in in_turn)
    assert named == sorted(caption_pool())
    counts = Counter((prompt.object_name, prompt.view) for prompt in in_turn)
    assert len(counts) == len(OBJECTS) * len(SAMPLED_VIEWS)
    assert set(counts.values()) == {2, 3}  # nine rounds, four views


def test_the_first_round_shows_every_object_from_every_side_in_one_color() -> None:
    first = [prompt for prompt in prompts(every_side=False) if prompt.round_index == 0]
    assert len(first) == len(OBJECTS) * len(SAMPLED_VIEWS) == len(set(first))
    assert len({(prompt.object_name, prompt.color) for prompt in first}) == len(OBJECTS)


def test_every_side_asks_for_all_sides_of_objects_that_have_them() -> None:
    asked = [p for p in prompts(every_side=True) if p.object_name in DISTINCT_SIDES]
    assert len(asked) == len(set(asked)) == len(DISTINCT_SIDES) * 9 * len(SAMPLED_VIEWS)


def test_a_prompt_reads_as_guidance_writes_it() -> None:
    assert Prompt("orange", "mug", "left side", 0).text == "an orange mug, left side view"


class _Painter(ToyboxPrior):
    """Paints an image grey by its prompt's length."""

    def sample(
        self, captions: list[str], *, guidance_scale: float, num_steps: int, seed: int
    ) -> torch.Tensor:
        return torch.stack([torch.full((4, 4, 3), len(text) / 100) for text in captions])


def test_images_stay_beside_their_prompts(prior_settings: PriorTrainingSection) -> None:
    counted: list[int] = []
    samples = sample_prior(
        _Painter(prior_settings, 16),
        guidance_scale=1.0,
        num_steps=1,
        every_side=False,
        report=counted.append,
    )
    assert sum(counted) == len(samples.prompts) == len(samples.images)
    mugs = samples.where(lambda prompt: prompt.object_name == "mug")
    assert {prompt.object_name for prompt in mugs.prompts} == {"mug"}
    expected = torch.tensor([len(prompt.text) / 100 for prompt in mugs.prompts])
    assert torch.equal(mugs.images[:, 0, 0, 0], expected)
