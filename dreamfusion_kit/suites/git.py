"""Git as a program: revisions of the workspace's repository, and temporary clones of them."""

import subprocess
from pathlib import Path

from dreamfusion_kit.errors import SuiteError


def commit_of(workspace: Path, revision: str) -> str | None:
    """Return the hash of the commit that a revision names; None if there is none."""
    named = ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"]
    done = _run(workspace, *named)
    return done.stdout.strip() if done.returncode == 0 else None


def first_with(workspace: Path, text: str, file: Path) -> str | None:
    """Return the first commit in the history of HEAD that has `text` in `file`; None without one.

    `file` is relative to the workspace.
    """
    if commit_of(workspace, "HEAD") is None:
        return None
    log = ["log", "--format=%H", "--reverse", f"-S{text}", "HEAD", "--", file.as_posix()]
    found = output(workspace, *log)
    return found.splitlines()[0] if found else None


def clone(workspace: Path, commit: str, folder: Path) -> Path:
    """Clone the repository that holds the workspace into `folder`, at `commit`.

    Returns the workspace in the clone.
    """
    top = output(workspace, "rev-parse", "--show-toplevel")
    output(workspace, "clone", "--quiet", "--no-checkout", top, str(folder))
    output(folder, "checkout", "--quiet", "--detach", commit)
    return folder / output(workspace, "rev-parse", "--show-prefix")


def output(workspace: Path, *arguments: str) -> str:
    """Return what a Git command prints.

    Raises:
        SuiteError: if it fails, or Git is missing.
    """
    done = _run(workspace, *arguments)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise SuiteError(
            f"git {arguments[0]}: failed ({reason}); expected a workspace that is committed, and "
            "a revision of it"
        )
    return done.stdout.strip()


def _run(workspace: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["git", "-C", str(workspace), *arguments],
            capture_output=True,
            text=True,
            errors="surrogateescape",  # the names of files and folders need not be UTF-8
            check=False,
        )
    except OSError as error:
        raise SuiteError(f"git: {error.strerror}; expected Git to be installed") from error
