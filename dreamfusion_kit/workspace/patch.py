"""The difference between two versions of a text file, as a patch."""

import difflib
import re
from collections.abc import Iterator


def patch(name: str, before: bytes, after: bytes) -> Iterator[str]:
    r"""Yield the lines of a unified diff, without their newlines.

    Its paths are relative to the folder that `name` is relative to: `git apply` and `patch -p1`
    take it there. A byte that is not UTF-8 is shown as U+FFFD.
    """
    old, new = _lines(before), _lines(after)
    for line in difflib.unified_diff(old, new, f"a/{name}", f"b/{name}"):
        yield line.removesuffix("\n")
        if not line.endswith("\n"):
            yield r"\ No newline at end of file"


def _lines(content: bytes) -> list[str]:
    """Return the lines with their ends. Only a newline ends a line, as for `patch`."""
    return re.findall(r"[^\n]*\n|[^\n]+", content.decode(errors="replace"))
