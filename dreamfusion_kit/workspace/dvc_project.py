"""A folder as a DVC project: its configuration, and what Git and DVC pass over in it."""

import configparser
import os
import shutil
import subprocess
from pathlib import Path

from dreamfusion_kit import files

_IGNORED_BY_GIT = "/out/\n/.work/\n__pycache__/\n"
_IGNORED_BY_DVC = "__pycache__\n*.pyc\n.work\n.venv\n"
_CONFIG = "[core]\n    analytics = false\n    check_update = false\n"


def make_project(directory: Path) -> None:
    """Make `directory` a DVC project, and a Git repository where it is inside none."""
    config = _CONFIG if _has_git(directory) else _CONFIG + "    no_scm = true\n"
    _write_project(directory, config)


def make_subproject(directory: Path, workspace: Path) -> None:
    """Make `directory` a project of its own that shares the workspace's cache and remotes."""
    config = _read(workspace / ".dvc" / "config")
    up = Path(os.path.relpath(workspace / ".dvc", directory / ".dvc"))
    for name in config.sections():
        url = config[name].get("url")
        if url is not None and not _is_absolute(url):
            config[name]["url"] = (up / url).as_posix()
    if not config.has_section("cache"):
        config.add_section("cache")
    if "dir" not in config["cache"]:
        config["cache"]["dir"] = (up / "cache").as_posix()
    elif not _is_absolute(config["cache"]["dir"]):
        config["cache"]["dir"] = (up / config["cache"]["dir"]).as_posix()
    lines = [
        line
        for name in config.sections()
        for line in (f"[{name}]", *(f"    {key} = {value}" for key, value in config[name].items()))
    ]
    _write_project(directory, "\n".join(lines) + "\n")


def _write_project(directory: Path, config: str) -> None:
    files.write_text(directory / ".dvc" / "config", config)
    files.write_text(directory / ".dvc" / ".gitignore", "/config.local\n/tmp\n/cache\n")
    for name, text in ((".gitignore", _IGNORED_BY_GIT), (".dvcignore", _IGNORED_BY_DVC)):
        if not (directory / name).exists():
            files.write_text(directory / name, text)


def _has_git(directory: Path) -> bool:
    """Return whether `directory` is inside a Git repository, making one where Git is there."""
    if shutil.which("git") is None:
        return False
    inside = ["git", "-C", str(directory), "rev-parse", "--is-inside-work-tree"]
    if subprocess.run(inside, capture_output=True, check=False).returncode == 0:
        return True
    made = subprocess.run(["git", "init", "-q", str(directory)], capture_output=True, check=False)
    return made.returncode == 0


def _read(path: Path) -> configparser.ConfigParser:
    config = configparser.ConfigParser(interpolation=None)
    config.read(path, encoding="utf-8")
    return config


def _is_absolute(url: str) -> bool:
    return "://" in url or Path(url).is_absolute()
