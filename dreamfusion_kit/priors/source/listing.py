"""The files of one commit as a hub lists them, treated as untrusted input.

A listing decides which files are created on this disk. So contents are named by their hash
alone, and a path stays below the folder that it is relative to, on every system.
"""

import json
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal

from huggingface_hub import constants
from huggingface_hub.utils import filter_repo_objects
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.priors.printable import printable
from dreamfusion_kit.priors.source import transfer
from dreamfusion_kit.recipe.schema import HubMirrorSection

_MAX_PAGE_BYTES = 32 * 1024**2
_MAX_FILES = 100_000
_MAX_FILE_BYTES = 2**60
_MAX_PATH_BYTES, _MAX_NAME_BYTES = 1024, 255


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class _Large(_Record):
    oid: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0, le=_MAX_FILE_BYTES)


class RemoteFile(_Record):
    """One file: its path, its bytes and the hash of its content.

    `oid` is Git's hash of the content, or, where `lfs` is set, of the pointer to it.
    """

    type: Literal["file"]
    path: str = Field(min_length=1)
    oid: str = Field(pattern="^[0-9a-f]{40}$")
    size: int = Field(ge=0, le=_MAX_FILE_BYTES)
    lfs: _Large | None = None

    @property
    def sha256(self) -> str | None:
        """Return the content's hash if the file is a large one."""
        return None if self.lfs is None else self.lfs.oid

    @property
    def blob(self) -> str:
        """Return the name of the content in the cache: 64 or 40 hex digits."""
        return self.sha256 or self.oid


class _Other(_Record):
    """A folder, which adds nothing to the files' paths."""

    type: Literal["directory"]


_ENTRIES = TypeAdapter(list[Annotated[RemoteFile | _Other, Field(discriminator="type")]])


def remote_listing(place: HubMirrorSection) -> list[RemoteFile]:
    """Return all files of a commit. Raises WeightsError for a listing that is not one."""
    url: str | None = (
        f"{constants.ENDPOINT}/api/models/{place.repository}/tree/{place.revision}"
        "?recursive=true&expand=false"
    )
    files: list[RemoteFile] = []
    while url is not None:
        page = transfer.read_page(url, limit=_MAX_PAGE_BYTES)
        url = page.next_url
        found = parse(page.content, place)
        files += found
        # A page without files is refused: a hub could send such pages for ever.
        if len(files) > _MAX_FILES or (url is not None and not found):
            raise _refused(place, f"does not end within {_MAX_FILES} files", "a shorter one")
    _check_unique(files, place)
    return files


def parse(content: bytes, place: HubMirrorSection) -> list[RemoteFile]:
    """Return the files in one page of a listing."""
    try:
        entries = _ENTRIES.validate_python(json.loads(content))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"] if part != "file") or "itself"
        found = printable(repr(first["input"]))
        raise _refused(place, f"has {where} = {found}", printable(first["msg"])) from None
    except (ValueError, RecursionError) as error:
        raise _refused(place, f"is not JSON ({printable(str(error))})", "a list") from None
    files = [entry for entry in entries if isinstance(entry, RemoteFile)]
    for file in files:
        if file.lfs is not None and file.lfs.size != file.size:
            raise _refused(place, f"has two sizes for {file.path!r}", "one")
        _check_path(file.path, place)
    return files


def serialized(files: Sequence[RemoteFile]) -> bytes:
    """Return bytes that `parse` reads."""
    return json.dumps([file.model_dump() for file in files]).encode()


def matching(files: Sequence[RemoteFile], patterns: Sequence[str]) -> list[RemoteFile]:
    """Return the files that match `patterns`."""
    asked = matching_names((file.path for file in files), patterns)
    return [file for file in files if file.path in asked]


def matching_names(names: Iterable[str], patterns: Sequence[str]) -> set[str]:
    """Return the paths that match `patterns`, as the hub's client matches them."""
    return set(filter_repo_objects(names, allow_patterns=list(patterns)))


def check_distinct(files: Sequence[RemoteFile], place: HubMirrorSection) -> None:
    """Refuse files that would coincide on some disk: by case, by Unicode form, or as a folder."""
    taken: dict[str, str] = {}
    for path in sorted(file.path for file in files):
        parts = path.split("/")
        folders = ["/".join(parts[:length]) for length in range(1, len(parts))]
        for name, role in [*((folder, f"{folder}/") for folder in folders), (path, path)]:
            other = taken.setdefault(_folded(name), role)
            if other != role:
                raise _refused(place, f"has both {other!r} and {role!r}", "names that differ")


def _check_unique(files: Sequence[RemoteFile], place: HubMirrorSection) -> None:
    seen: set[str] = set()
    for file in files:
        if file.path in seen:
            raise _refused(place, f"has {file.path!r} twice", "each file once")
        seen.add(file.path)


def _check_path(path: str, place: HubMirrorSection) -> None:
    names = path.split("/")
    odd = [letter for letter in path if letter in "\\:" or unicodedata.category(letter)[0] == "C"]
    too_long = len(path.encode(errors="replace")) > _MAX_PATH_BYTES or any(
        len(name.encode(errors="replace")) > _MAX_NAME_BYTES for name in names
    )
    if odd or too_long or any(name in ("", ".", "..") for name in names):
        raise _refused(
            place,
            f"has a file {printable(ascii(path))}",
            "relative paths with forward slashes that stay inside the repository",
        )


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


def _refused(place: HubMirrorSection, found: str, expected: str) -> WeightsError:
    return WeightsError(
        f"{place.repository} at {place.revision}: the hub's list of files {found}; expected "
        f"{expected}; nothing of it is fetched; use another hub or mirror"
    )
