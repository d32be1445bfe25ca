"""Text of strangers in messages."""

import pytest

from dreamfusion_kit.priors.printable import printable


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain", "plain"),
        ("  two \n lines\t", "two lines"),
        ("\x1b[2J", "?[2J"),
        ("a\u202eb", "a?b"),
        ("a\0b", "a?b"),
        ("\ud800", "?"),
        ("é猫", "é猫"),
        ("x" * 301, "x" * 300 + "..."),
    ],
)
def test_it_is_one_line_of_characters_that_show(text: str, line: str) -> None:
    assert printable(text) == line
