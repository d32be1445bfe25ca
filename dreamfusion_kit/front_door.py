"""How the program ends: with its result, or with one line per problem and exit status 2.

    0    done
    2    an expected failure: DreamFusionKitError, a disk that is full or read-only, out of
         memory, stdout closed by its reader
    130  interrupted by Ctrl-C

Anything else is a bug and keeps its traceback.
"""

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper

from dreamfusion_kit.command_name import command_name
from dreamfusion_kit.errors import DreamFusionKitError
from dreamfusion_kit.system_errors import system_problem

FAILURE, INTERRUPTED = 2, 130
_CPU_OUT_OF_MEMORY = "can't allocate memory"  # torch's, which has no exception class for it


def run(command: Callable[[], object]) -> None:
    """Run a command line, such as a Typer app, and exit with its status."""
    _open_standard_streams()
    stdout = sys.stdout
    try:
        command()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if sys.stdout is not stdout:  # Typer replaces it when its reader closes the pipe.
            sys.stdout = stdout
            status = _left()
    except KeyboardInterrupt:
        status = INTERRUPTED
    except BrokenPipeError:
        status = _left()
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        _say(message)
        status = FAILURE
    sys.exit(_flushed(status))


def explain(error: Exception) -> str | None:
    """Return the message for an expected failure; None for a bug."""
    if isinstance(error, DreamFusionKitError):
        return str(error)
    if _is_out_of_memory(error):
        reason = next(iter(str(error).strip().splitlines()), "")
        return (
            f"out of memory{f' ({reason})' if reason else ''}; `{command_name()} doctor ASSET` "
            "says what an asset needs and what would make it fit"
        )
    problem = system_problem(error)
    return None if problem is None else str(problem)


def _is_out_of_memory(error: Exception) -> bool:
    torch = sys.modules.get("torch")  # if it was never imported, it is not what failed
    return (
        isinstance(error, MemoryError)
        or (torch is not None and isinstance(error, torch.OutOfMemoryError))
        or (isinstance(error, RuntimeError) and _CPU_OUT_OF_MEMORY in str(error))
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    )


def _open_standard_streams() -> None:
    """Make every stream writable, whatever text it has to show.

    A closed stream's descriptor would go to the next file that is opened, and a library's
    output would go into that file.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _left() -> int:
    _say("stdout: its reader closed it before everything was written")
    return FAILURE


def _say(message: str) -> None:
    with suppress(OSError, ValueError, AttributeError):  # without stderr there is no one to tell
        print(message, file=sys.stderr, flush=True)


def _flushed(status: int) -> int:
    """Flush buffered output, while a failure can still be reported; return the exit status."""
    stdout = sys.stdout
    if stdout is None:
        return status
    try:
        stdout.flush()
    except BrokenPipeError:
        status = _left()
    except OSError as error:
        _say(str(system_problem(error) or f"stdout: {error.strerror}"))
        status = FAILURE
    except ValueError:  # closed by the program itself
        return status
    else:
        return status
    # The interpreter flushes again on exit, and would complain.
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stdout.fileno())
    return status
