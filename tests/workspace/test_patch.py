"""A patch turns one text into the other, by the reckoning of Git."""

import itertools
import subprocess
from pathlib import Path

import pytest

from dreamfusion_kit.workspace.patch import patch

TEXTS = (
    "",
    "a: 1\n",
    "a: 1",
    "a: 1\r\nb: 2\r\n",
    "# Möhre\u2028 und\x0c Rübe\nb: 2\n",
    "".join(f"line {number}\n" for number in range(40)),
    "first\n" + "".join(f"line {number}\n" for number in range(40)) + "last",
)


@pytest.mark.parametrize(("before", "after"), list(itertools.permutations(TEXTS, 2)))
def test_git_applies_it(before: str, after: str, tmp_path: Path) -> None:
    path = tmp_path / "recipes" / "toybox.yaml"
    path.parent.mkdir()
    path.write_bytes(before.encode())
    lines = patch("recipes/toybox.yaml", before.encode(), after.encode())
    text = "".join(f"{line}\n" for line in lines)
    apply = ["git", "apply", "--whitespace=nowarn"]
    subprocess.run(apply, cwd=tmp_path, input=text.encode(), check=True)
    assert path.read_bytes() == after.encode()


def test_equal_texts_differ_in_nothing() -> None:
    assert list(patch("a", b"same\n", b"same\n")) == []


def test_what_is_not_text_is_still_shown() -> None:
    assert "-\ufffd" in list(patch("a", b"\xff\n", b"text\n"))
