"""The table of captions against the captions drawn one by one."""

from collections import Counter

import torch

from dreamfusion_kit.toybox.caption_table import VIEW_WORDS, caption_table, view_index
from dreamfusion_kit.toybox.captions import training_caption, view_words
from dreamfusion_kit.toybox.shapes import COLORS, OBJECTS

COUNT = 4000


def test_views_are_those_of_the_words() -> None:
    draw = torch.Generator().manual_seed(0)
    azimuth = torch.rand(2000, generator=draw) * 1080 - 540
    elevation = torch.rand(2000, generator=draw) * 180 - 90
    azimuth[:6] = torch.tensor([0.0, 45.0, 135.0, 180.0, -45.0, 360.0])
    words = [VIEW_WORDS[index] for index in view_index(azimuth, elevation)]
    assert words == list(map(view_words, azimuth.tolist(), elevation.tolist()))
    assert set(words) == set(VIEW_WORDS) - {"side"}


def drawn(color: str | None, name: str, words: str, dropout: float = 0.0) -> Counter[str]:
    table = caption_table()
    index = -1 if color is None else tuple(COLORS).index(color)
    numbers = table.draw(
        torch.full((COUNT,), index),
        torch.full((COUNT,), OBJECTS.index(name)),
        torch.full((COUNT,), VIEW_WORDS.index(words)),
        dropout=dropout,
        generator=torch.Generator().manual_seed(1),
    )
    return Counter(table.captions[number] for number in numbers)


def test_captions_are_as_frequent_as_those_drawn_one_by_one() -> None:
    for color, name, words in (("red", "mug", "left side"), (None, "duck", "overhead")):
        draw = torch.Generator().manual_seed(2)
        expected = Counter(
            training_caption(color, name, words, generator=draw) for _ in range(COUNT)
        )
        found = drawn(color, name, words)
        assert set(found) == set(expected)
        for text, count in expected.items():
            assert abs(found[text] - count) < 5 * (2 * count) ** 0.5 + 5, text


def test_a_share_of_captions_is_empty() -> None:
    found = drawn("blue", "car", "front", dropout=0.25)
    assert abs(found[""] / COUNT - 0.25) < 0.03
    assert drawn("blue", "car", "front")[""] == 0


def test_captions_are_listed_once() -> None:
    captions = caption_table().captions
    assert captions[0] == ""
    assert len(set(captions)) == len(captions)
