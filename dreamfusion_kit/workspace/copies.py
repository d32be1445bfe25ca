"""A workspace's copies of the recipes and protocols that come with the kit.

A record holds the SHA-256 of every version of each file that the kit has offered to the workspace,
one `<hash>  <path>` a line, as `sha256sum` writes them. A copy equal to one of them is the kit's,
and an upgrade replaces it. Any other is the user's, and is never written.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from dreamfusion_kit import files
from dreamfusion_kit.command_name import command_name
from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.system_errors import explained
from dreamfusion_kit.workspace import shipped

_RECORD = Path(".dvc/dreamfusion-kit.shipped")
_LINE = re.compile(r"([0-9a-f]{64})  ((?:recipes|protocols)/\S+)")


def copy_shipped(workspace: Path) -> None:
    """Copy the kit's recipes and protocols into a new workspace."""
    newest = _newest()
    for name, content in newest.items():
        files.write_bytes(workspace / name, content)
    _write_record(workspace, {name: {_sha256(content)} for name, content in newest.items()})


def copy_protocol(workspace: Path, name: str) -> None:
    """Copy one of the kit's protocols into a workspace that lacks it."""
    place = f"protocols/{name}.yaml"
    content, record = _newest()[place], _read_record(workspace)
    files.write_bytes(workspace / place, content)
    if record:  # otherwise the first upgrade starts it
        known = record.get(place, set())
        _write_record(workspace, {**record, place: known | {_sha256(content)}})


def upgrade_copies(workspace: Path) -> Iterator[str]:
    """Replace the kit's copies by those of this version; yield what happened, as it happens.

    What the user edited or removed stays so. That is said once for each new version of a file. A
    workspace without a record gets one: there every copy that differs counts as edited.

    Raises:
        DreamFusionKitError: if the record is damaged; nothing is written then.
    """
    if shipped.is_source(workspace):
        return
    record, newest = _read_record(workspace), _newest()
    for name, content in newest.items():
        path = workspace / name
        known = record.get(name, set())
        if os.path.lexists(path):
            said = _upgrade_copy(path, content, known)
        else:
            said = _add(path, content) if record and not known else None
        if said is not None:
            yield f"{path}: {said}"
    for name in sorted(record.keys() - newest.keys()):
        if os.path.lexists(workspace / name):
            yield f"{workspace / name}: this version no longer has it; kept, and yours from now on"
    after = {name: record.get(name, set()) | {_sha256(newest[name])} for name in newest}
    if after != record:
        _write_record(workspace, after)


def pairs(workspace: Path) -> Iterator[tuple[str, bytes, bytes]]:
    """Yield name, content and content in this version of every copy that differs from it."""
    for name, new in _newest().items():
        own = _content(workspace / name)
        if own is not None and own != new:
            yield name, own, new


def _add(path: Path, new: bytes) -> str:
    files.write_bytes(path, new)
    return "written; new in this version"


def _upgrade_copy(path: Path, new: bytes, known: set[str]) -> str | None:
    """Replace a copy if it is the kit's; return what there is to say.

    Args:
        path: Its place, where something is.
        new: What this version has there.
        known: The hashes of what earlier versions had there.
    """
    own = _content(path)
    if own == new:
        return None
    if own is not None and _sha256(own) in known:
        files.write_bytes(path, new)
        return "written; it was as another version of the kit has it"
    if _sha256(new) in known:  # said before
        return None
    return f"edited by hand, kept; `{command_name()} upgrade --diff` shows what this version has"


def _newest() -> dict[str, bytes]:
    return {name: path.read_bytes() for name, path in shipped.copied().items()}


def _content(path: Path) -> bytes | None:
    """Return what a copy holds; None if it is not a regular file. A link is the user's."""
    if path.is_symlink() or not path.is_file():
        return None
    with explained(path):
        return path.read_bytes()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read_record(workspace: Path) -> dict[str, set[str]]:
    """Return the known hashes of each file; an empty record if it was never written."""
    path = workspace / _RECORD
    content = _content(path)
    record: dict[str, set[str]] = {}
    lines = [] if content is None else content.decode(errors="replace").splitlines()
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise DreamFusionKitError(
                f"{path}:{number}: found {line[:40]!r}, expected a SHA-256, two spaces and a path; "
                "after a merge keep the lines of both sides, or else restore the file from Git"
            )
        record.setdefault(match[2], set()).add(match[1])
    return record


def _write_record(workspace: Path, record: Mapping[str, set[str]]) -> None:
    lines = [f"{known}  {name}\n" for name in sorted(record) for known in sorted(record[name])]
    files.write_text(workspace / _RECORD, "".join(lines))
