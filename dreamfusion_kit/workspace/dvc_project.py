"""A folder as a DVC project: its configuration, and what Git and DVC ignore in it."""

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

from dreamfusion_kit import files
from dreamfusion_kit.errors import DreamFusionKitError

_IGNORED_BY_GIT = "/out/\n/.work/\n/models.local.yaml\n__pycache__/\n"
_IGNORED_BY_DVC = "__pycache__\n*.pyc\n.work\n.venv\n"
_OF_A_SUITE = (
    "# The workspace's, written by `dreamfusion-kit upgrade`. Yours goes into config.local."
)
_PATHS_OF_REMOTES = (
    "url",
    "gdrive_user_credentials_file",
    "gdrive_service_account_json_file_path",
    "credentialpath",
    "configpath",
    "keyfile",
    "cert_path",
    "key_path",
)
_CONFIG = "[core]\n    analytics = false\n    check_update = false\n"


def make_project(directory: Path) -> None:
    """Make `directory` a DVC project, and a Git repository unless it is inside one."""
    config = _CONFIG if _has_git(directory) else _CONFIG + "    no_scm = true\n"
    _write_project(directory, config)


def make_subproject(directory: Path, workspace: Path) -> None:
    """Make `directory` a project of its own that shares the workspace's cache and remotes."""
    config = _read(workspace / ".dvc" / "config")
    up = Path(os.path.relpath(workspace / ".dvc", directory / ".dvc"))
    if not config.has_option("cache", "dir"):
        config.read_dict({"cache": {"dir": "cache"}})
    lines = [_OF_A_SUITE]
    for name in config.sections():
        lines.append(f"[{name}]")
        for key, value in config[name].items():
            is_path = (name, key) == ("cache", "dir") or key in _PATHS_OF_REMOTES
            lines.append(f"    {key} = {_moved(value, up) if is_path else value}")
    _write_project(directory, "\n".join(lines) + "\n")


def _moved(path: str, up: Path) -> str:
    """Return a path of the workspace's configuration as seen from a suite's folder."""
    is_relative = not (
        re.match(r"\w+://", path) or path.startswith("~") or Path(path).is_absolute()
    )
    return (up / path).as_posix() if is_relative else path


def _write_project(directory: Path, config: str) -> None:
    files.write_text(directory / ".dvc" / "config", config)
    files.write_text(directory / ".dvc" / ".gitignore", "/config.local\n/tmp\n/cache\n")
    for name, text in ((".gitignore", _IGNORED_BY_GIT), (".dvcignore", _IGNORED_BY_DVC)):
        if not (directory / name).exists():
            files.write_text(directory / name, text)


def _has_git(directory: Path) -> bool:
    """Return whether `directory` is inside a Git repository; make one if Git is installed."""
    if shutil.which("git") is None:
        return False
    inside = ["git", "-C", str(directory), "rev-parse", "--is-inside-work-tree"]
    if subprocess.run(inside, capture_output=True, check=False).returncode == 0:
        return True
    made = subprocess.run(["git", "init", "-q", str(directory)], capture_output=True, check=False)
    return made.returncode == 0


def _read(path: Path) -> configparser.ConfigParser:
    config = configparser.ConfigParser(interpolation=None)
    try:
        config.read(path, encoding="utf-8")
    except (configparser.Error, ValueError) as error:
        found = str(error).splitlines()[0]
        raise DreamFusionKitError(f"{path}: {found}; expected DVC's configuration") from error
    return config
