"""What the prior's measures count, by judges that read made-up pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch

from dreamfusion_kit.evaluation.toybox_models import (
    Judges,
    measure_samples,
    side_accuracy,
    view_accuracy,
)
from dreamfusion_kit.toybox.captions import HELD_OUT, VIEWS, caption, caption_pool
from dreamfusion_kit.toybox.reference_images import ONE_SIDED
from dreamfusion_kit.toybox.samples import Samples, prompt_batches
from dreamfusion_kit.toybox.shapes import COLORS, DISTINCT_SIDES


@dataclass(frozen=True)
class PictureReader:
    """Both judges at once: a picture's red says which caption it shows, its green which view."""

    def image_features(self, images: torch.Tensor) -> torch.Tensor:
        return torch.eye(len(caption_pool()))[images[:, 0, 0, 0].long()]

    def text_features(self, captions: Sequence[str]) -> torch.Tensor:
        raise AssertionError("its captions are given")

    def views(self, images: torch.Tensor, object_name: str) -> list[str]:
        assert object_name in DISTINCT_SIDES
        return [VIEWS[index] for index in images[:, 0, 0, 1].long().tolist()]


READER = PictureReader()
JUDGES = Judges(READER, READER, torch.eye(len(caption_pool())), torch.zeros(1, len(caption_pool())))  # type: ignore[arg-type]


def painted() -> Samples:
    """Return samples that show exactly what their prompts ask for."""
    prompts = tuple(prompt for batch in prompt_batches(every_side=True) for prompt in batch)
    pool = caption_pool()
    pixels = [
        [
            pool.index(caption(prompt.color, prompt.object_name)),
            VIEWS.index(prompt.view.split()[-1]),
            0,
        ]
        for prompt in prompts
    ]
    return Samples(prompts, torch.tensor(pixels, dtype=torch.float32)[:, None, None])


def test_samples_that_obey_their_prompts_score_one() -> None:
    samples = painted()
    measures = measure_samples(JUDGES, samples, samples.where(lambda prompt: prompt.is_in_turn))
    assert measures.pop("view_accuracy_by_object") == dict.fromkeys(DISTINCT_SIDES, 1.0)
    assert measures.pop("frechet_distance") == pytest.approx(0.0, abs=1e-6)
    assert set(measures.values()) == {1.0}


def test_a_wrong_caption_counts_once_and_in_its_group() -> None:
    """Only the sample whose view is its round's counts for its caption."""
    samples = painted()
    held_out = next(
        index
        for index, prompt in enumerate(samples.prompts)
        if prompt.is_in_turn and (prompt.color, prompt.object_name) in HELD_OUT
    )
    out_of_turn = next(i for i, prompt in enumerate(samples.prompts) if not prompt.is_in_turn)
    for index in (held_out, out_of_turn):
        samples.images[index, ..., 0] = (samples.images[index, ..., 0] + 1) % len(caption_pool())
    measures = measure_samples(JUDGES, samples, samples)
    assert measures["r_precision"] == pytest.approx(143 / 144)
    assert measures["r_precision_trained"] == 1.0
    assert measures["r_precision_held_out"] == pytest.approx(15 / 16)
    assert measures["frechet_distance"] > 0


def test_wrong_sides_count_for_their_side_and_object() -> None:
    """A car seen from the front wherever its back was asked for: one answer of four is wrong."""
    samples = painted()
    for image, prompt in zip(samples.images, samples.prompts, strict=True):
        if (prompt.object_name, prompt.view) == ("car", "back"):
            image[..., 1] = VIEWS.index("front")
    measures = view_accuracy(READER, samples)  # type: ignore[arg-type]
    count = len(DISTINCT_SIDES)
    assert measures["view_accuracy_by_object"]["car"] == pytest.approx(3 / 4)
    assert measures["view_accuracy_back"] == pytest.approx(1 - 1 / count)
    assert measures["view_accuracy_front"] == measures["view_accuracy_left_side"] == 1.0
    assert measures["view_accuracy"] == pytest.approx(1 - 1 / (4 * count))


def test_a_side_view_is_held_against_the_means_of_both_sides_of_its_own_pair() -> None:
    """Blue counts the sides; green ducks' means are swapped, so each of them is taken wrongly."""
    samples = painted()
    samples.images[..., 2] = torch.tensor([p.view == "right side" for p in samples.prompts])[
        :, None, None
    ]
    left, right = torch.zeros(1, 1, 3), torch.tensor([0, 0, 1.0]).expand(1, 1, 3)
    pairs = [(color, name) for color in COLORS for name in ONE_SIDED]
    means = {pair: torch.stack([left, right]) for pair in pairs}
    assert side_accuracy(means, samples) == {"side_accuracy": 1.0}
    means["green", "duck"] = torch.stack([right, left])
    assert side_accuracy(means, samples)["side_accuracy"] == pytest.approx(1 - 1 / len(pairs))
