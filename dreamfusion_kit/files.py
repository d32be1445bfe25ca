"""Files: written whole or not at all, read with a schema, and identified by their hash.

A new file or folder is prepared beside its place, under a unique name
(`.NAME.<16 hex digits>.partial`), and then renamed. Two processes that write the same
output therefore never meet: both succeed, and the last to finish wins. A partial is
locked by its process. The kernel releases the lock when the process ends, however that
happens, and the next writer in the same folder removes partials that are no longer locked.
"""

import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from dreamfusion_kit.errors import DreamFusionKitError, FileError
from dreamfusion_kit.system_errors import explained

T = TypeVar("T")

MAX_JSON_BYTES = 64 << 20  # the files that stages write stay far below
_MAX_FOUND_CHARACTERS = 60
_PARTIAL = re.compile(r"\..+\.[0-9a-f]{16}\.partial")


@contextmanager
def new_directory(target: Path) -> Generator[Path, None, None]:
    """Yield an empty folder that replaces `target` when the block succeeds.

    If the block fails, `target` stays as it was.

    Raises:
        FileError: if something other than a folder is in its place, or the system refuses:
            disk full, read-only and the like.
    """
    check_writable(target, folder=True)
    with explained(target):
        partial, descriptor = _claim(target, Path.mkdir)
    try:
        with explained(target):
            yield partial
            _put_in_place(partial, target)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    finally:
        os.close(descriptor)


def write_bytes(target: Path, content: bytes) -> None:
    """Write a file: after any crash it is either complete or as it was. Its permissions stay.

    Raises:
        FileError: if the system refuses: disk full, read-only and the like.
    """
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(target.parent)
        partial, descriptor = _claim(target, _touch)
        try:
            with partial.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            _copy_mode(target, descriptor)
            partial.replace(target)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        _sync_directory(target.parent)


def write_text(target: Path, text: str) -> None:
    """Write text as UTF-8, whole or not at all."""
    write_bytes(target, text.encode())


def write_json(target: Path, value: Any) -> None:
    """Write indented JSON with sorted keys; nan and infinity are refused."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    write_text(target, text + "\n")


def read_json(path: Path, form: type[T], *, made_by: str) -> T:
    """Read JSON that the stage `made_by` wrote, as `form`: a pydantic model or a TypedDict.

    Types are strict: "1" is not a number, and 1.5 is not an integer.

    Raises:
        DreamFusionKitError: if the file is missing or of another form.
    """
    expect_file(path, made_by=made_by)
    try:
        content = _read_bounded(path)
        return TypeAdapter(form).validate_json(content, strict=True)
    except (OSError, ValidationError, RecursionError) as error:
        raise DreamFusionKitError(
            f"{path}: {_found(error)}; written by the {made_by} stage; run `dvc repro`"
        ) from error


def expect_file(path: Path, *, made_by: str) -> Path:
    """Return `path` if it is a regular file; otherwise say which stage writes it."""
    if path.is_file():
        return path
    found = "not a regular file" if os.path.lexists(path) else "not there"
    raise DreamFusionKitError(
        f"{path}: {found}, expected a file; written by the {made_by} stage; run `dvc repro`"
    )


def sha256(path: Path, *, made_by: str | None = None) -> str:
    """Return the file's hash as 64 hex digits.

    If it is missing and `made_by` names the stage that writes it, the error is one line.
    """
    if made_by is not None:
        expect_file(path, made_by=made_by)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_writable(target: Path, *, folder: bool) -> None:
    """Refuse an output that could not be written, before the work for it begins.

    This is tried out: the parent folders are made, and a partial is made and removed.

    Args:
        target: The output.
        folder: Whether it is a folder, to be written by `new_directory`, or a file.

    Raises:
        FileError: if a link or another kind of file is in its place, or the system
            refuses.
    """
    _check_kind(target, folder=folder)
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(target.parent)
        partial, descriptor = _claim(target, Path.mkdir if folder else _touch)
        try:
            if folder:
                partial.rmdir()
            else:
                partial.unlink()
        finally:
            os.close(descriptor)


# ---- partials


def _claim(target: Path, make: Callable[[Path], None]) -> tuple[Path, int]:
    """Make a partial of `target`; return it with a locked descriptor."""
    while True:
        partial = _beside(target)
        make(partial)
        try:
            descriptor = os.open(partial, os.O_RDONLY)
        except FileNotFoundError:
            continue  # Another process considered it stale before it was locked.
        with suppress(OSError):  # without locks, as on some network file systems
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            if os.path.samestat(partial.lstat(), os.fstat(descriptor)):
                return partial, descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)  # As above, a moment later.


def _beside(target: Path) -> Path:
    return target.with_name(f".{target.name}.{secrets.token_hex(8)}.partial")


def _touch(path: Path) -> None:
    path.touch(exist_ok=False)


def _remove_stale(folder: Path) -> None:
    """Remove the partials in `folder` whose process has ended."""
    for name in os.listdir(folder):
        if not _PARTIAL.fullmatch(name):
            continue
        path = folder / name
        with suppress(OSError):  # in use, or removed by another process meanwhile
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()
            finally:
                os.close(descriptor)


def _put_in_place(partial: Path, target: Path) -> None:
    """Replace `target` with a folder, whatever other processes do to it."""
    _sync_tree(partial)
    while True:
        old = _beside(target)
        with suppress(FileNotFoundError):
            target.rename(old)
        try:
            partial.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            break
        finally:
            shutil.rmtree(old, ignore_errors=True)
    _sync_directory(target.parent)


def _check_kind(target: Path, *, folder: bool) -> None:
    try:
        mode = target.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return  # Creating its parents reports what is wrong with them.
    if folder and not stat.S_ISDIR(mode):
        found = "a link" if stat.S_ISLNK(mode) else "not a folder"
        raise FileError(f"{target}: is {found}, expected a folder or nothing; move it away")
    if not folder and stat.S_ISDIR(mode):
        raise FileError(f"{target}: is a folder, expected a file or nothing; move it away")


def _copy_mode(target: Path, descriptor: int) -> None:
    with suppress(FileNotFoundError):
        mode = target.lstat().st_mode
        if stat.S_ISREG(mode):
            os.fchmod(descriptor, stat.S_IMODE(mode))


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ---- JSON


def _read_bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(MAX_JSON_BYTES + 1)
    if len(content) > MAX_JSON_BYTES:
        raise OSError(errno.EFBIG, f"found over {MAX_JSON_BYTES >> 20} MiB")
    return content


def _found(error: Exception) -> str:
    """Say in one line what is wrong with a JSON file."""
    if not isinstance(error, ValidationError):
        return f"cannot be read ({getattr(error, 'strerror', None) or error})"
    first, *others = error.errors(include_url=False, include_context=False)
    more = f" (and {len(others)} more)" if others else ""
    message = first["msg"].removeprefix("Input should be ")
    if first["type"] == "json_invalid":
        return f"damaged ({message})"
    where = _short(".".join(map(str, first["loc"])).encode("unicode_escape").decode())
    match first["type"]:
        case "missing":
            return f"{where}: missing{more}"
        case "extra_forbidden":
            return f"{where}: unknown key{more}"
        case _:
            found = _short(ascii(first["input"]))
            return f"{where or 'the whole'}: found {found}, expected {message}{more}"


def _short(text: str) -> str:
    """Return `text`, with its middle left out if it is long."""
    if len(text) <= _MAX_FOUND_CHARACTERS:
        return text
    return f"{text[: _MAX_FOUND_CHARACTERS - 13]}...{text[-10:]}"
