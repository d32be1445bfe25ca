"""System errors (a full disk, a read-only folder) as one line of advice."""

import errno
import os
import re
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from dreamfusion_kit.errors import DreamFusionKitError, FileError

_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")  # as Rust libraries write them
_ADVICE = {
    errno.ENOSPC: "free some space, then run the command again",
    errno.EDQUOT: "free some of the quota, then run the command again",
    errno.EFBIG: "raise the limit on file sizes (`ulimit -f`), then run the command again",
    errno.EROFS: "expected a place that can be written; mount it so, or use another workspace",
    errno.EACCES: "expected a path that this user may use; change its owner or permissions",
    errno.EPERM: "expected a path that this user may use; change its owner or permissions",
    errno.EIO: "the disk or its connection fails; check it, then run the command again",
    errno.ESTALE: "the network file system lost the file; run the command again",
    errno.EMFILE: "raise the limit on open files (`ulimit -n`), then run the command again",
    errno.ENFILE: "too many files are open on this machine; end what holds them",
    errno.ENOTDIR: "expected a folder; move away what is in its place",
    errno.EEXIST: "expected a folder; move away what is in its place",  # `mkdir` on a file
    errno.EISDIR: "expected a file; move away the folder in its place",
    errno.ELOOP: "expected no loop of links; remove the link",
    errno.ENAMETOOLONG: "expected a shorter path; move the workspace up",
    errno.EBUSY: "another program holds it; end that, then run the command again",
}


@contextmanager
def explained(path: Path) -> Generator[None, None, None]:
    """Turn system errors while `path` is being written into a FileError that names it."""
    try:
        yield
    except DreamFusionKitError:
        raise
    except Exception as error:  # safetensors and others raise their own exceptions for it
        problem = system_problem(error, path) or _vanished(error, path)
        if problem is None:
            raise
        raise problem from error


def _vanished(error: Exception, path: Path) -> FileError | None:
    """Return what to do if what was being written is gone, as where someone clears `out/`.

    Any other missing file is left to the caller.
    """
    if not isinstance(error, FileNotFoundError) or ".partial" not in str(error.filename):
        return None
    return FileError(
        f"{path}: {os.strerror(errno.ENOENT)}: its folder is gone or takes no files; expected it "
        "to stay while a command runs; run the command again"
    )


def system_problem(error: BaseException, path: Path | None = None) -> FileError | None:
    """Return what the system refused, and what to do; None if `error` is something else.

    Args:
        error: An OSError, or an exception that quotes one.
        path: The file that was being written, if the error names none.
    """
    if isinstance(error, OSError):
        number, named = error.errno, error.filename
    else:
        quoted = _SYSTEM_ERROR.search(str(error))
        number, named = int(quoted[1]) if quoted else None, None
    if number not in _ADVICE:
        return None
    # A partial's name does not help in finding the output.
    if isinstance(named, str | bytes) and not (path and ".partial" in os.fsdecode(named)):
        where = os.fsdecode(named)
    else:
        where = str(path or "output")
    return FileError(f"{where}: {os.strerror(number)}; {_ADVICE[number]}")
