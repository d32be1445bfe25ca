"""DVC as a program: its Python API carries no promise."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from dreamfusion_kit.errors import SuiteError
from dreamfusion_kit.supervision import STAGE_VARIABLE


def repro(root: Path, targets: Sequence[str], log: Path) -> None:
    """Run these stages and no others, in their order, where they are not up to date."""
    _dvc(root, ["repro", "--single-item", *targets], log)


def commit(root: Path, targets: Sequence[str], log: Path) -> None:
    """Record the outputs that lie there, and what they were made from, in cache and lock."""
    _dvc(root, ["commit", "--quiet", "--force", *targets], log)


def _dvc(root: Path, arguments: Sequence[str], log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != STAGE_VARIABLE}
    # The stages' commands are `dreamfusion-kit`: the one of this environment.
    folders = [str(Path(sys.executable).parent), environment.get("PATH", "")]
    environment["PATH"] = os.pathsep.join(filter(None, folders))
    with log.open("ab") as file:
        done = subprocess.run(
            [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments],
            cwd=root,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if done.returncode != 0:
        last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        raise SuiteError(
            f"dvc {arguments[0]}: failed ({' '.join(last) or 'it printed nothing'}); expected "
            f"it to succeed; see {log}"
        )
