"""Entries of dvc.lock as bytes, so that another machine's go into ours as DVC wrote them.

DVC writes a stage's entry as a block of lines below its name, indented by two spaces:

    schema: '2.0'
    stages:
      embed:
        cmd: ...
      optimize:
        ...
"""

import re
from collections.abc import Mapping

from dreamfusion_kit.errors import SuiteError

_HEAD = b"schema: '2.0'\nstages:\n"
_NAME = re.compile(rb"^  ([^\s#'\"][^\n]*?):\n", re.MULTILINE)


def entries(lock: bytes) -> dict[str, bytes]:
    """Return the entry of each stage, its name's line included, in the file's order.

    Raises:
        SuiteError: if the text is not as DVC writes it.
    """
    if not lock:
        return {}
    if not lock.startswith(_HEAD):
        raise SuiteError(f"dvc.lock: starts with {lock[:30]!r}, expected {_HEAD!r}; restore it")
    body = lock.removeprefix(_HEAD)
    starts = [(match.start(), match[1].decode()) for match in _NAME.finditer(body)]
    if starts and starts[0][0] != 0:
        raise SuiteError("dvc.lock: text before the first stage, expected none; restore it")
    ends = [start for start, _ in starts[1:]] + [len(body)]
    return {name: _closed(body[start:end]) for (start, name), end in zip(starts, ends, strict=True)}


def with_entries(lock: bytes, new: Mapping[str, bytes]) -> bytes:
    """Return the file with these entries: in their old places, or at the end."""
    return _HEAD + b"".join((entries(lock) | dict(new)).values())


def _closed(entry: bytes) -> bytes:
    return entry if entry.endswith(b"\n") else entry + b"\n"
