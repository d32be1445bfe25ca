"""Captions in text files, and which are refused."""

import hashlib
from pathlib import Path

import pytest

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.captions import declared_captions, distinct, read_captions
from dreamfusion_kit.recipe.evaluation import (
    FilePoolSection,
    SuitePoolSection,
    ToyboxPoolSection,
)

PROMPTS = {"a": "a red mug", "b": "A red mug.", "c": "a blue car"}


def test_a_file_has_a_caption_a_line(tmp_path: Path) -> None:
    path = tmp_path / "captions.txt"
    path.write_bytes("a corgi\r\nein Löwe\n".encode())
    section = FilePoolSection(kind="file", path="captions.txt")
    assert declared_captions(section, PROMPTS, tmp_path) == ("a corgi", "ein Löwe")
    path.write_text("a corgi")  # no line break at the end
    assert read_captions(path, tmp_path) == ("a corgi",)


def test_the_suite_s_prompts_count_once_as_normalised(tmp_path: Path) -> None:
    found = declared_captions(SuitePoolSection(kind="suite"), PROMPTS, tmp_path)
    assert found == ("a red mug", "a blue car")
    assert declared_captions(ToyboxPoolSection(kind="toybox"), PROMPTS, tmp_path) is None
    assert distinct([]) == ()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ":1: found 0 characters"),
        (b"a\n\nb\n", ":2: found 0 characters"),
        (b"a corgi\nA corgi.\n", ":2: found the caption of line 1 again"),
        (b" a corgi\n", ":1: found white space at an end"),
        (b"a\tcorgi\n", ":1: found the character U+0009"),
        ("a\u2028b\n".encode(), ":1: found the character U+2028"),
        (b"x" * 501, ":1: found 501 characters"),
        (b"a\n\xff\n", ":2: found byte 0xff, expected UTF-8"),
        (b"x" * 4_000_001, "found more than 4000000 bytes"),
    ],
)
def test_what_a_file_of_captions_may_not_say(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "captions.txt"
    path.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        read_captions(path, tmp_path)
    assert str(caught.value).splitlines()[0].startswith(str(path))
    assert message in str(caught.value)


def test_all_problems_of_a_file_come_together(tmp_path: Path) -> None:
    path = tmp_path / "captions.txt"
    path.write_text("a\n b\na\n")
    with pytest.raises(RecipeError) as caught:
        read_captions(path, tmp_path)
    assert len(str(caught.value).splitlines()) == 2


def test_a_link_out_of_the_workspace_is_refused(tmp_path: Path) -> None:
    outside, workspace = tmp_path / "secret.txt", tmp_path / "workspace"
    workspace.mkdir()
    outside.write_text("a secret\n")
    (workspace / "captions.txt").symlink_to(outside)
    with pytest.raises(RecipeError, match="a link out of the workspace"):
        read_captions(workspace / "captions.txt", workspace)


@pytest.mark.parametrize("kind", ["missing", "folder"])
def test_no_file_is_named_with_a_way_out(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "captions.txt"
    if kind == "folder":
        path.mkdir()
    with pytest.raises(RecipeError, match=r"one caption a line; write it, or set"):
        read_captions(path, tmp_path)


def test_a_pinned_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "captions.txt").write_text("a blue car.\na red mug.\n")
    assert declared_captions(PINNED, {}, tmp_path) == ("a blue car.", "a red mug.")
    (tmp_path / "captions.txt").write_text("a red mug.\na blue car.\n")  # in whatever order
    assert declared_captions(PINNED, {}, tmp_path) is not None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "No such file; expected the captions of the pool"),
        ("a red mug.\n", "found 1 captions, expected the 2 of the pool"),
        ("a red mug.\na red car.\n", "found other captions than the pool's"),
        ("A red mug\na blue car\n", "found the pool's captions, not normalised"),
    ],
)
def test_another_file_than_the_pinned_one_is_refused(
    tmp_path: Path, text: str | None, problem: str
) -> None:
    if text is not None:
        (tmp_path / "captions.txt").write_text(text)
    with pytest.raises(RecipeError) as caught:
        declared_captions(PINNED, {}, tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/captions.txt: {problem}")
    assert message.endswith("; get it from the authors")
    assert "\n" not in message


PINNED = FilePoolSection(
    kind="file",
    path="captions.txt",
    size=2,
    sha256=hashlib.sha256(b"a blue car.\na red mug.").hexdigest(),
    source="the authors",
)
