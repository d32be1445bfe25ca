"""What the machine refuses becomes one line, by tests that have it refuse."""

import errno
import os
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dreamfusion_kit import files
from dreamfusion_kit.errors import FileError, RecipeError
from dreamfusion_kit.system_errors import explained, system_problem


@contextmanager
def limited_file_size(size_bytes: int) -> Iterator[None]:
    """Let no file grow beyond a size: writes then fail as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.fixture
def read_only_folder() -> Iterator[Path]:
    """Return a folder that this process may not write into; for root, as another user."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        root = os.geteuid() == 0
        if root:
            os.seteuid(65534)
        try:
            yield folder
        finally:
            if root:
                os.seteuid(0)
            folder.chmod(0o755)


def test_a_file_that_does_not_fit_is_one_line_and_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "field.json"
    files.write_text(path, "old")
    with limited_file_size(1000), pytest.raises(FileError) as caught:
        files.write_text(path, "x" * 2000)
    assert str(caught.value).startswith(f"{path}: File too large; raise the limit")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["field.json"]


def test_tensors_that_do_not_fit_are_one_line(tmp_path: Path) -> None:
    """Safetensors has an exception of its own, which quotes the system's number."""
    target = tmp_path / "field"
    with (
        limited_file_size(1000),
        pytest.raises(FileError, match=r"field: File too large"),
        files.new_directory(target) as folder,
    ):
        save_file({"grid": torch.zeros(1000)}, folder / "field.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_full_disk_is_one_line() -> None:
    with pytest.raises(FileError) as caught, explained(Path("out/mug")):
        Path("/dev/full").write_text("x")
    assert str(caught.value) == (
        "out/mug: No space left on device; free some space, then run the command again"
    )


def test_a_read_only_folder_is_one_line(read_only_folder: Path) -> None:
    for target in (read_only_folder / "mesh", read_only_folder / "out" / "mesh"):
        for folder in (True, False):
            with pytest.raises(FileError, match="Permission denied; expected a path that"):
                files.check_writable(target, folder=folder)


def test_a_folder_that_vanishes_is_one_line(tmp_path: Path) -> None:
    """As where somebody clears `out/` while a stage writes into it."""
    target = tmp_path / "out" / "mesh"

    def write() -> None:
        with files.new_directory(target) as folder:
            shutil.rmtree(target.parent)
            (folder / "mesh.glb").write_bytes(b"glTF")

    with pytest.raises(FileError, match=r"out/mesh: No such file or directory: its folder is gone"):
        write()
    if Path("/proc/self").is_dir():  # where nobody can make a file
        with pytest.raises(FileError, match=r"^/proc/gate.md: No such file or directory"):
            files.write_text(Path("/proc/gate.md"), "x")


def test_another_file_that_is_missing_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), files.new_directory(tmp_path / "mesh"):
        (tmp_path / "input.json").read_text()


def test_other_errors_are_left_alone() -> None:
    assert system_problem(FileNotFoundError(errno.ENOENT, "no", "x")) is None
    assert system_problem(ValueError("(os error x)")) is None
    with pytest.raises(ZeroDivisionError), explained(Path("x")):
        raise ZeroDivisionError
    with pytest.raises(RecipeError, match="kept"), explained(Path("x")):
        raise RecipeError("kept")


def test_the_error_s_own_file_is_named_unless_it_is_a_partial() -> None:
    def said(name: str) -> str:
        error = OSError(errno.EROFS, os.strerror(errno.EROFS), name)
        return str(system_problem(error, Path("out/mug")))

    assert said("/cache/blob").startswith("/cache/blob: Read-only file system; ")
    assert said("out/.mug.0123456789abcdef.partial/a").startswith("out/mug: Read-only")


def test_without_a_name_the_message_still_reads() -> None:
    assert str(system_problem(OSError(errno.ENOSPC, "full"))).startswith("output: No space left")
