"""Ids from prompts."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamfusion_kit.recipe.suite_schema import ASSET_ID
from dreamfusion_kit.workspace.slug import slugs


def ids(*prompts: str, taken: tuple[str, ...] = ()) -> list[str]:
    return slugs([(prompt, "") for prompt in prompts], taken)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a red mug", "red_mug"),
        ("An Orange  table!", "orange_table"),
        ("the", "the"),
        ("a", "a"),
        ("2 cats, 1 box", "2_cats_1_box"),
        ("a crème brûlée", "creme_brulee"),
        ("a cat's toy", "cat_s_toy"),
    ],
)
def test_short_latin_prompts_are_their_words(prompt: str, expected: str) -> None:
    assert ids(prompt) == [expected]


@pytest.mark.parametrize(
    "prompt",
    ["一只红色的杯子", "красная кружка", "a mug with 茶", "a straße", "🦆", "!?", "a" * 41],
)
def test_what_is_lost_is_told_by_a_hash(prompt: str) -> None:
    (found,) = ids(prompt)
    assert re.search(r"_[0-9a-f]{8}$", found)
    assert re.fullmatch(ASSET_ID, found)


def test_long_prompts_end_at_a_word() -> None:
    prompt = "a wide angle photo of an elephant that stands on a beach ball in the rain"
    (found,) = ids(prompt)
    words = found.rpartition("_")[0]
    assert words == "wide_angle_photo_of_an_elephant_that"
    assert ids(prompt + " again") != [found]


def test_alike_prompts_all_get_a_hash_whatever_their_order() -> None:
    first, other, second = ids("a red mug", "a blue mug", "the red mug!")
    assert other == "blue_mug"
    assert first != second
    assert re.fullmatch(r"red_mug_[0-9a-f]{8}", first)
    assert ids("the red mug!", "a red mug") == [second, first]


def test_equal_prompts_differ_by_their_variant() -> None:
    found = slugs([("a red mug", "toybox 0"), ("a red mug", "toybox 1")])
    assert len(set(found)) == 2
    assert found == slugs([("a red mug", "toybox 1"), ("a red mug", "toybox 0")])[::-1]


def test_taken_ids_are_not_given_again() -> None:
    assert re.fullmatch(r"red_mug_[0-9a-f]{8}", ids("a red mug", taken=("red_mug",))[0])


@given(st.lists(st.text(min_size=1, max_size=80), max_size=20, unique=True))
def test_any_prompts_get_ids_that_are_valid_and_differ(prompts: list[str]) -> None:
    found = ids(*prompts)
    assert len(set(found)) == len(prompts)
    for name, prompt in zip(found, prompts, strict=True):
        assert re.fullmatch(ASSET_ID, name), (prompt, unicodedata.name(prompt[0], "?"))
