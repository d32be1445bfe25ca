"""Text of strangers in messages."""

import pytest

from dreamfusion_kit.priors.printable import printable


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain", "plain"),
        ("  two \n lines\t", "two lines"),
        ("\x1b[2J", r"\u001b[2J"),
        ("a\u202eb", r"a\u202eb"),
        ("a\0b", r"a\u0000b"),
        ("\ud800", r"\ud800"),
        ("é猫", "é猫"),
        ("x" * 301, "x" * 297 + "..."),
    ],
)
def test_it_is_one_line_of_characters_that_show(text: str, line: str) -> None:
    assert printable(text) == line
