"""The lock of a model: the SHA-256 and size of each of its files, which pin what was fetched."""

import fnmatch
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict  # pydantic reads that of `typing` from 3.12 on

from dreamfusion_kit.errors import WeightsError
from dreamfusion_kit.files import sha256
from dreamfusion_kit.priors.printable import printable

# Weights, configurations and vocabularies. Pickles (.bin, .pt, .ckpt) are never fetched.
ALLOWED_PATTERNS = ("*.safetensors", "*.json", "*.txt", "*.model")


@with_config(ConfigDict(extra="forbid"))
class LockedFile(TypedDict):
    """What pins one file."""

    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    size_bytes: Annotated[int, Field(ge=0)]


Lock = dict[str, LockedFile]  # by path inside the directory, "/" between its parts
_LOCK = TypeAdapter(Lock)


def locked_file(path: Path) -> LockedFile:
    """Return what pins the file at `path`."""
    return LockedFile(sha256=sha256(path), size_bytes=path.stat().st_size)


def lock_of(directory: Path) -> Lock:
    """Return the lock of a directory that was made here, and is nobody else's."""
    return {
        path.relative_to(directory).as_posix(): locked_file(path)
        for path in allowed_files(directory)
    }


def verify_made(directory: Path, expected: Lock) -> None:
    """Raise WeightsError at the first file that is not the one `lock_of` saw."""
    found = lock_of(directory)
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            raise changed(directory, name, "missing" if name not in found else "another file")


def checked(lock: object) -> Lock:
    """Return a lock file's content, or raise WeightsError if it is not what `fetch` returns."""
    try:
        return _LOCK.validate_python(lock, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the lock"
        raise WeightsError(
            f"lock file of a model: {printable(place)}: {printable(first['msg'])}; expected "
            "the sha256 and size of every file; run the fetch stage again"
        ) from None


def verify(directory: Path, files: Mapping[str, Path], expected: Lock) -> None:
    """Raise WeightsError at the first of `files` that is not the locked one, by its path."""
    for name in sorted(files.keys() ^ expected.keys()):
        state = "missing" if name in expected else "not in the lock file"
        raise changed(directory, name, state)
    for name, path in files.items():
        size = path.stat().st_size
        if size != expected[name]["size_bytes"]:
            raise changed(directory, name, f"{size} bytes, not {expected[name]['size_bytes']}")
        if sha256(path) != expected[name]["sha256"]:
            raise changed(directory, name, "of the locked size but with other bytes")


def allowed_files(directory: Path) -> Iterator[Path]:
    """Yield every file below the directory that the kit may read, in order of path."""
    for path in sorted(directory.rglob("*")):
        allowed = any(fnmatch.fnmatch(path.name, pattern) for pattern in ALLOWED_PATTERNS)
        if allowed and path.is_file():
            yield path


def changed(directory: Path, name: str, found: str) -> WeightsError:
    """Return the error for a file that is not the locked one; `found` says what it is instead."""
    return WeightsError(
        f"{directory.name}/{name}: is {found}; expected the file that was fetched and locked; "
        "restore it, or run the fetch stage again to accept it"
    )
