"""Messages as a terminal shows them: printable, short, one line per problem."""

import pickle
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dreamfusion_kit.errors import (
    LONGEST_LINE,
    DreamFusionKitError,
    MeshError,
    first_unprintable,
    printable,
)

_WRITTEN = [
    "a red mug",
    "שלום, כוס אדומה",  # right to left
    "كوب أحمر ٣",
    "می‌خواهم",  # with a zero-width non-joiner
    "一只红色的杯子。",
    "क्‍ष",  # with a zero-width joiner
    "👩‍👩‍👧 and 🏳️‍🌈",
    "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",  # England's flag
    "café, naïve, e\u0301",
    "\U0001fae9",  # an emoji newer than some Pythons
]
_HIDDEN = [
    *"\x00\x07\t\n\r\x1b\x7f\x85\x9b",
    *"\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",  # direction
    *"\u2028\u2029\u200b\u2060\ufeff\u00ad\ufff9\ue000\ufffe\ufdd0",
    "\ud800",
    "\udcff",
    "\U000e0041",  # a tag outside of a flag
    "\U0010ffff",
]


@pytest.mark.parametrize("text", _WRITTEN)
def test_what_people_write_is_printable(text: str) -> None:
    assert first_unprintable(text) is None


@pytest.mark.parametrize("char", _HIDDEN, ids=ascii)
def test_what_hides_or_moves_text_is_not(char: str) -> None:
    assert first_unprintable(f"a mug{char}x") == char
    escaped = printable(f"a mug{char}x")
    assert escaped.isascii()
    assert escaped.isprintable()
    assert escaped.encode().decode("unicode_escape") == f"a mug{char}x"


@given(st.text(st.characters()))
def test_any_text_becomes_one_line_that_can_be_written(text: str) -> None:
    line = printable(text)
    assert len(line.splitlines()) <= 1
    assert not [char for char in line if unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")]
    line.encode()
    assert printable(line) == line


def test_an_error_keeps_its_lines_and_nothing_else_that_moves_the_cursor() -> None:
    error = MeshError("out/a\x1b[2J.ply: found \u202e\nout/b.ply: found \u2028")
    assert str(error) == "out/a\\u001b[2J.ply: found \\u202e\nout/b.ply: found \\u2028"


def test_an_error_s_lines_are_cut() -> None:
    lines = str(DreamFusionKitError("a" * 5000 + "\nb")).split("\n")
    assert [len(line) for line in lines] == [LONGEST_LINE, 1]


def test_an_error_crosses_processes() -> None:
    error = pickle.loads(pickle.dumps(MeshError("found \x07")))
    assert str(error) == "found \\u0007"
