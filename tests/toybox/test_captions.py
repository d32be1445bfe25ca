"""Captions: pool, parsing, view words and held-out pairs."""

import pytest
import torch

from dreamfusion_kit.toybox.captions import (
    HELD_OUT,
    VIEWS,
    attributes,
    caption,
    caption_pool,
    parse,
    training_caption,
    view_of,
    view_words,
)
from dreamfusion_kit.toybox.shapes import COLORS, OBJECTS


def test_pool_names_every_pair_once() -> None:
    pool = caption_pool()
    assert len(set(pool)) == len(pool) == len(OBJECTS) * len(COLORS)


def test_article_follows_the_vowel() -> None:
    assert caption("red", "mug") == "a red mug"
    assert caption("orange", "car") == "an orange car"


@pytest.mark.parametrize("text", ["a red mug", "A Red Mug ", "an orange duck"])
def test_canonical_captions_are_parsed(text: str) -> None:
    pair = parse(text)
    assert pair is not None
    assert caption(*pair) == text.strip().lower()


@pytest.mark.parametrize("text", ["a red mug on a table", "a mauve mug", "mug", "", "a red zebra"])
def test_other_prompts_have_no_ground_truth(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    ("azimuth", "elevation", "view"),
    [
        (0, 0, "front"),
        (45, 0, "front"),
        (46, 0, "side"),
        (-44, 0, "front"),
        (316, 0, "front"),
        (134, 10, "side"),
        (135, 10, "back"),
        (225, 10, "back"),
        (270, 60, "side"),
        (0, 60.1, "overhead"),
    ],
)
def test_view_words_follow_the_camera(azimuth: float, elevation: float, view: str) -> None:
    assert view_of(azimuth, elevation) == view


@pytest.mark.parametrize(
    ("text", "color", "name", "view", "side"),
    [
        ("a red mug, front view", "red", "mug", "front", None),
        ("side view of an orange car", "orange", "car", "side", None),
        ("a pink duck, right side view", "pink", "duck", "side", "right"),
        ("a toy robot in blue", "blue", "robot", None, None),
        ("a white plaster duck, overhead view", None, "duck", "overhead", None),
        ("", None, None, None, None),
    ],
)
def test_attributes_are_what_the_caption_says(
    text: str, color: str | None, name: str | None, view: str | None, side: str | None
) -> None:
    def index(names: tuple[str, ...], said: str | None) -> int:
        return len(names) if said is None else names.index(said)

    expected = (
        index(tuple(COLORS), color),
        index(OBJECTS, name),
        index(VIEWS, view),
        index(("left", "right"), side),
    )
    assert attributes(text) == expected


def test_about_a_tenth_of_the_pairs_is_held_out() -> None:
    assert {name for _, name in HELD_OUT} == set(OBJECTS)
    assert 0.08 < len(HELD_OUT) / len(caption_pool()) < 0.13
    assert len({color for color, _ in HELD_OUT}) == len(COLORS)


def test_a_training_caption_never_names_a_false_view() -> None:
    texts = _training_captions("red", "left side")
    assert len(set(texts)) > 5
    assert all("red" in text and "mug" in text for text in texts)
    false = ("front", "back", "overhead", "right")
    assert not any(word in text for text in texts for word in false)


def test_side_views_are_named_with_and_without_their_side() -> None:
    texts = _training_captions("red", "right side")
    named = [text for text in texts if "right side view" in text]
    plain = [text for text in texts if "side view" in text and "right" not in text]
    assert len(named) > len(plain) > 0


@pytest.mark.parametrize(
    ("azimuth", "elevation", "words"),
    [
        (90, 0, "left side"),
        (450, 0, "left side"),
        (-90, 60, "right side"),
        (270, 0, "right side"),
        (90, 61, "overhead"),
        (180, 0, "back"),
    ],
)
def test_an_objects_left_is_where_azimuth_is_90(
    azimuth: float, elevation: float, words: str
) -> None:
    assert view_words(azimuth, elevation) == words


def _training_captions(color: str | None, words: str) -> list[str]:
    seeds = range(200)
    return [
        training_caption(color, "mug", words, generator=torch.Generator().manual_seed(seed))
        for seed in seeds
    ]


def test_plaster_captions_name_no_color() -> None:
    texts = _training_captions(None, "front")
    assert all(text.startswith("a white plaster mug") for text in texts)
