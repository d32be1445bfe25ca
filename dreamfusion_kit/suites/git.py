"""Git as a program, with its failures in one line."""

import subprocess
from pathlib import Path

from dreamfusion_kit.errors import SuiteError


def git(folder: Path, *arguments: str) -> str:
    """Return what `git ARGUMENTS` prints in `folder`.

    Raises:
        SuiteError: if Git is missing or fails.
    """
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise SuiteError(f"git: {error.strerror}; expected Git to be installed") from error
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise SuiteError(
            f"git {arguments[0]}: failed ({reason}); expected a workspace that is committed, and "
            "a revision of it"
        )
    return done.stdout.strip()
