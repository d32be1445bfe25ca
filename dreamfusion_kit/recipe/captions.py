"""Captions as people write them: normalised for comparison, and read from a text file."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import assert_never

from dreamfusion_kit.errors import RecipeError
from dreamfusion_kit.recipe.evaluation import (
    CaptionPoolSection,
    FilePoolSection,
    SuitePoolSection,
    ToyboxPoolSection,
)
from dreamfusion_kit.recipe.schema.base import is_one_line

MAX_CHARACTERS = 500
MAX_BYTES = 4_000_000


def normalize_caption(caption: str) -> str:
    """Return the caption as Dream Fields writes its queries: lower case, one full stop."""
    return caption.lower().strip(" .,") + "."


def one_clean_line(text: str) -> str:
    """Return `text`; raise `ValueError` unless it is one line of plain, trimmed text."""
    is_one_line(text)
    if text != text.strip():
        raise ValueError("found white space at an end, expected text without it")
    return text


def declared_captions(
    section: CaptionPoolSection, prompts: Mapping[str, str], workspace: Path
) -> tuple[str, ...] | None:
    """Return the pool that the suite or a file declares; None for the toybox's own.

    Args:
        section: Which pool.
        prompts: The suite's prompts by asset.
        workspace: Where to look for the file.

    Raises:
        RecipeError: with the problems of the file, one a line.
    """
    match section:
        case ToyboxPoolSection():
            return None
        case SuitePoolSection():
            return distinct(prompts.values())
        case FilePoolSection():
            return _declared_file(section, workspace)
        case _:
            assert_never(section)


def captions_sha256(captions: Iterable[str]) -> str:
    """Return the hash of captions in sorted order, one per line, whatever order they came in."""
    return hashlib.sha256("\n".join(sorted(captions)).encode()).hexdigest()


def _declared_file(section: FilePoolSection, workspace: Path) -> tuple[str, ...]:
    """Return the captions of a file that is the one declared."""
    path = workspace / section.path
    advice = f"; get it from {section.source}" if section.source else ""
    if section.source and not path.exists():
        raise RecipeError(f"{path}: No such file; expected the captions of the pool{advice}")
    captions = read_captions(path, workspace)
    if section.size is not None and len(captions) != section.size:
        raise RecipeError(
            f"{path}: found {len(captions)} captions, expected the {section.size} of the "
            f"pool{advice}"
        )
    if section.sha256 is not None and captions_sha256(captions) != section.sha256:
        normal = map(normalize_caption, captions)
        found = (
            "the pool's captions, not normalised, expected them in lower case with one full stop"
            if captions_sha256(normal) == section.sha256
            else "other captions than the pool's, expected those of its sha256"
        )
        raise RecipeError(f"{path}: found {found}{advice}")
    return captions


def distinct(captions: Iterable[str]) -> tuple[str, ...]:
    """Return the captions in order, without those that equal an earlier one as normalised."""
    found: dict[str, str] = {}
    for caption in captions:
        found.setdefault(normalize_caption(caption), caption)
    return tuple(found.values())


def read_captions(path: Path, workspace: Path) -> tuple[str, ...]:
    """Return the captions of a text file, one a line.

    Raises:
        RecipeError: with one line `file:line: found, expected` per problem: the file lies
            outside the workspace, a line is empty or not plain text, a caption is repeated.
    """
    if not path.resolve().is_relative_to(workspace.resolve()):
        raise RecipeError(f"{path}: found a link out of the workspace, expected a file inside it")
    captions: list[str] = []
    problems: list[str] = []
    first_lines: dict[str, int] = {}
    for number, line in enumerate(_text(path).removesuffix("\n").split("\n"), 1):
        problem = _problem(line.removesuffix("\r"))
        first = first_lines.setdefault(normalize_caption(line), number)
        if problem is None and first != number:
            problem = f"found the caption of line {first} again, expected each once"
        if problem is not None:
            problems.append(f"{path}:{number}: {problem}")
        captions.append(line.removesuffix("\r"))
    if problems:
        raise RecipeError("\n".join(problems))
    return tuple(captions)


def _problem(line: str) -> str | None:
    try:
        one_clean_line(line)
    except ValueError as error:
        return str(error)
    if not 1 <= len(line) <= MAX_CHARACTERS:
        return f"found {len(line)} characters, expected a caption of 1 to {MAX_CHARACTERS}"
    return None


def _text(path: Path) -> str:
    try:
        if not path.is_file():
            raise FileNotFoundError(2, "No such file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise RecipeError(
            f"{path}: {reason}; expected a text file with one caption a line; "
            "write it, or set evaluation.caption_pool to {kind: suite}"
        ) from error
    if len(content) > MAX_BYTES:
        raise RecipeError(f"{path}: found more than {MAX_BYTES} bytes, expected one caption a line")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise RecipeError(
            f"{path}:{line}: found byte 0x{content[error.start]:02x}, expected UTF-8 text"
        ) from error
