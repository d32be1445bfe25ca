"""Every failure the kit expects, as one tree.

    DreamFusionKitError
    ├── RecipeError          a recipe, suite or override does not match the schema
    ├── StaleKitError        kit.json does not match the current code and inputs
    ├── SuiteError           a suite's run cannot start, or DVC failed during it
    ├── WeightsError         a pretrained model is missing, damaged or not the pinned one
    ├── CheckpointError      a checkpoint cannot be read, or another run holds the scratch
    ├── NumericsError        an optimisation died: nothing visible, all opaque, or not finite
    ├── MeshError            a field has no surface, or a surface cannot be processed
    ├── EvaluationError      views, captions or metrics do not fit together
    ├── FileError            an output cannot be written: disk full, read-only, in the way
    └── MissingExtraError    an optional package or system library is not installed

A message says where the problem is, what was found, what was expected and what to do next,
one line per problem. The command line prints it and exits with status 2.

Messages quote text that other people wrote: YAML, prompts, file names. Any character that
could move the cursor, reorder the text or start a new line is therefore written as an escape.
"""

import re
import unicodedata

LONGEST_LINE = 1000

_CUT = "..."
# The joiners that emoji, Persian and Indic scripts need, and Arabic's visible number signs.
_VISIBLE_FORMATS = "\u200c\u200d\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2"
# The flags of England, Scotland and Wales are a black flag and invisible letters.
_TAGGED_FLAG = re.compile("\U0001f3f4[\U000e0061-\U000e007a]{3,6}\U000e007f")


class DreamFusionKitError(Exception):
    """Base of every expected failure.

    Each line of `message` is made printable, and cut after `LONGEST_LINE` characters.
    """

    def __init__(self, message: str) -> None:  # noqa: D107 - see the class
        lines = (shortened(printable(line), LONGEST_LINE) for line in message.split("\n"))
        super().__init__("\n".join(lines))


class RecipeError(DreamFusionKitError):
    """A recipe, suite or override does not match the schema."""


class StaleKitError(DreamFusionKitError):
    """kit.json does not match the current code and inputs."""


class SuiteError(DreamFusionKitError):
    """A suite's run cannot start, or DVC failed during it."""


class WeightsError(DreamFusionKitError):
    """A pretrained model is missing, damaged or not the pinned one."""


class CheckpointError(DreamFusionKitError):
    """A checkpoint cannot be read, or another run holds the scratch."""


class NumericsError(DreamFusionKitError):
    """An optimisation died: nothing visible, all opaque, or not finite."""


class MeshError(DreamFusionKitError):
    """A field has no surface, or a surface cannot be processed."""


class EvaluationError(DreamFusionKitError):
    """Views, captions or metrics do not fit together."""


class FileError(DreamFusionKitError):
    """An output cannot be written: the disk is full or read-only, or something is in its place."""


class MissingExtraError(DreamFusionKitError):
    """An optional package or system library is not installed."""


def printable(text: str) -> str:
    """Return `text` on one line, with escapes, in hexadecimal, for unprintable characters."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(char) if is_unprintable(char) else char for char in text)


def first_unprintable(text: str) -> str | None:
    """Return the first character that is unprintable where it stands, if there is one."""
    visible = _TAGGED_FLAG.sub("", text)
    return next((char for char in visible if is_unprintable(char)), None)


def is_unprintable(char: str) -> bool:
    """Whether a terminal shows `char` as nothing, as something else, or as a new line.

    That is: control characters, line separators, surrogates, private use, non-characters,
    and all format characters, including those that override text direction. Right-to-left
    letters, joined emoji, and characters that Unicode has not assigned yet are printable.
    """
    match unicodedata.category(char):
        case "Cc" | "Cs" | "Co" | "Zl" | "Zp":
            return True
        case "Cf":
            return char not in _VISIBLE_FORMATS
        case "Cn":
            return ord(char) & 0xFFFE == 0xFFFE or 0xFDD0 <= ord(char) <= 0xFDEF
        case _:
            return False


def shortened(text: str, longest: int) -> str:
    """Return `text`, with its end cut off if it has more than `longest` characters."""
    return text if len(text) <= longest else text[: longest - len(_CUT)] + _CUT


def _escaped(char: str) -> str:
    known = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char)
    code = ord(char)
    return known or (f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}")
